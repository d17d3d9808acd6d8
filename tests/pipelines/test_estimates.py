"""Estimates are the profile's counts times recorded unit costs."""

import pytest

from pipelines.estimates import estimate, training_memory_gib, unit_costs
from visor_core.config import GRPOConfig, ModelConfig, NanoConfig, Profile, SFTConfig

NANO = Profile(
    name="nano",
    nano=NanoConfig(train_corpora=3, development_corpora=1, companies=5, topics=6),
    sft=SFTConfig(steps=100, batch_size=10),
    grpo=GRPOConfig(steps=10, questions_per_step=4, group_size=5),
)


def test_counts_by_hand() -> None:
    cost = unit_costs()["nano"]
    stages = {stage.stage: stage for stage in estimate(NANO)}
    pages = (3 + 1) * 5 * (6 + 1)  # a cover and six topics a company
    rendering = stages["nano_corpus, documents, pages"]
    assert rendering.work == "140 pages"
    assert rendering.seconds == pytest.approx(pages / cost["render_pages_per_second"])
    per_turn = cost["prompt_tokens_per_turn"] + cost["completion_tokens_per_turn"]
    assert stages["sft_checkpoint"].tokens == 1000 * per_turn
    assert stages["grpo_checkpoint"].work == "200 episodes"


def test_twice_the_steps_cost_twice() -> None:
    double = NANO.model_copy(update={"grpo": NANO.grpo.model_copy(update={"steps": 20})})
    once, twice = (next(s for s in estimate(p) if s.stage == "grpo_checkpoint") for p in (NANO, double))
    assert twice.seconds == pytest.approx(2 * once.seconds)


def test_large_models_cost_gpu_hours_in_proportion() -> None:
    def hours(name: str) -> float:
        return sum(s.gpu_hours for s in estimate(Profile(name="p", model=ModelConfig(name=name)), pages=5000))

    small, large = hours("Qwen/Qwen2.5-VL-3B-Instruct"), hours("Qwen/Qwen2.5-VL-7B-Instruct")
    assert 0 < small < large < 10 * small


def test_sharded_weights_are_divided_among_the_gpus() -> None:
    model = ModelConfig(name="Qwen/Qwen2.5-VL-7B-Instruct")
    whole, shard = (
        training_memory_gib(Profile(name="p", model=model, accelerate=name)) for name in ("gpu.yaml", "fsdp.yaml")
    )
    # float32 weights, gradients, two moments and the reference of 8.29 thousand million parameters
    assert whole == pytest.approx(20 * 8.29e9 / 2**30)
    assert shard == pytest.approx(whole / 8)


def test_every_unit_cost_set_names_its_source() -> None:
    assert all(costs["source"] for costs in unit_costs().values())
