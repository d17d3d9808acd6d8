"""Estimates are the profile's counts times recorded unit costs."""

import pytest

from pipelines.estimates import estimate, memory_gib, unit_costs
from pipelines.figures import number
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
    assert rendering.seconds.value == pytest.approx(pages / cost["render_pages_per_second"])
    per_turn = cost["prompt_tokens_per_turn"] + cost["completion_tokens_per_turn"]
    assert stages["sft_checkpoint"].tokens.value == 1000 * per_turn
    assert stages["grpo_checkpoint"].work == "200 episodes"


def test_twice_the_steps_cost_twice() -> None:
    double = NANO.model_copy(update={"grpo": NANO.grpo.model_copy(update={"steps": 20})})
    once, twice = (next(s for s in estimate(p) if s.stage == "grpo_checkpoint") for p in (NANO, double))
    assert twice.seconds.value == pytest.approx(2 * once.seconds.value)


def test_large_models_cost_gpu_hours_in_proportion() -> None:
    def hours(name: str) -> float:
        return sum(s.gpu_hours.value for s in estimate(Profile(name="p", model=ModelConfig(name=name)), pages=5000))

    small, large = hours("Qwen/Qwen2.5-VL-3B-Instruct"), hours("Qwen/Qwen2.5-VL-7B-Instruct")
    assert 0 < small < large < 10 * small


def test_sharded_weights_are_divided_among_the_gpus() -> None:
    model = ModelConfig(name="Qwen/Qwen2.5-VL-7B-Instruct")
    whole, shard = (memory_gib(Profile(name="p", model=model, accelerate=name)) for name in ("gpu.yaml", "fsdp.yaml"))
    for part in ("weights", "reference", "gradients", "optimizer"):
        assert shard[part].value == pytest.approx(whole[part].value / 8)
    assert shard["activations"] == whole["activations"]


def test_every_figure_has_its_arithmetic() -> None:
    """Beside each figure stands the sum that it is, of the profile's counts and the unit costs."""
    for profile in (NANO, Profile(name="p", model=ModelConfig(name="Qwen/Qwen2.5-VL-3B-Instruct"))):
        for stage in estimate(profile):
            for figure in (stage.seconds, stage.gpu_hours, stage.tokens, stage.disk_gib):
                assert bool(figure) == bool(figure.text)
    rendering = estimate(NANO)[0].seconds
    assert rendering.text == "140 pages ÷ 60 a second"


def test_every_unit_cost_set_names_its_source() -> None:
    assert all(costs["source"] for costs in unit_costs().values())


def test_a_large_figure_is_printed_as_a_number() -> None:
    assert number(9.89e14, "FLOPS").text == "989e12 FLOPS"
    assert number(3.755e9).text == "3.755e9"
