"""Both stages as they are called: on a real environment, with the trajectory store, resumed when run again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from tests.tiny_model import picture
from tests.visor_core.agent.small_index import SmallIndex, pages_of
from tests.visor_core.training.episodes import episode, question, shown, turn
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig, CropConfig, GRPOConfig, ImageConfig, OptimizerConfig, SFTConfig
from visor_core.errors import DataError
from visor_core.policies.base import Sampling
from visor_core.policies.encoding import Encoder
from visor_core.policies.transformers import TransformersPolicy
from visor_core.questions import Question
from visor_core.training import loop
from visor_core.training.checkpoints import MARKER
from visor_core.training.grpo import train_grpo
from visor_core.training.loop import RunCallback, load_for_training, trained_dtype
from visor_core.training.rewards import RewardContext
from visor_core.training.rows import encode_turn, rows_of
from visor_core.training.sft import sft_rows, train_sft
from visor_core.trajectories.store import TrajectoryWriter

AGENT = AgentConfig(
    prompts="compact",
    coordinates="grid10",
    max_turns=3,
    first_search="question",
    max_new_tokens=6,
    image=ImageConfig(min_pixels=1024, max_pixels=1024, multiple=32),
    crop=CropConfig(pad_pixels=0, min_side=0.3, square=True),
)


def lessons() -> list[Trajectory]:
    """Three pictures, three right answers."""
    found = []
    for i in range(3):
        asked = question((f"p{i}",), answers=(str(i),), question_id=f"q{i}")
        turns = [
            turn(1, "search", text="acme", pages=[f"p{i}"], reply="<think>look</think><search>acme</search>"),
            turn(
                2,
                "answer",
                text=str(i),
                context=[shown(f"p{i}")],
                reply=f"<think>read {i}</think><answer>{i}</answer>",
            ),
        ]
        found.append(episode(asked, turns, answer=str(i), name=f"t{i}"))
    return found


def lesson_config(**changes: object) -> SFTConfig:
    values = {
        "optimizer": OptimizerConfig(learning_rate=5e-3, schedule="constant"),
        "steps": 30,
        "batch_size": 6,
        "micro_batch_size": 4,
        "save_steps": 10,
        "freeze_vision": False,
        "max_length": 128,
    }
    return SFTConfig(**{**values, **changes})  # type: ignore[arg-type]


def test_sft_learns_what_the_teacher_wrote(checkpoint: Path, tmp_path: Path) -> None:
    steps: list[dict[str, float]] = []
    saved: list[tuple[str, int]] = []
    store = tmp_path / "store"
    writer = TrajectoryWriter(store)
    for lesson in lessons():
        writer.append(lesson)
    writer.close()
    result = train_sft(
        checkpoint,
        store,
        picture,
        lesson_config(),
        tmp_path / "out",
        0,
        on_step=steps.append,
        on_checkpoint=lambda folder, step, metrics: saved.append((folder.name, step)),
    )
    assert saved == [("checkpoint-10", 10), ("checkpoint-20", 20), ("checkpoint-30", 30)]
    assert steps[0]["loss"] > 2.0
    assert steps[-1]["loss"] < 0.1
    assert steps[-1]["token_accuracy"] == 1.0
    policy = TransformersPolicy(result.checkpoint, picture)
    prompts = [lesson.turns[1].prompt for lesson in lessons()]
    replies = policy.complete_batch(prompts, [Sampling(0.0, 16)] * 3)
    assert [r.text for r in replies] == [f"<think> read {i} </think> <answer> {i} </answer>" for i in range(3)]
    again = train_sft(checkpoint, lessons(), picture, lesson_config(), tmp_path / "out", 0)
    assert again.checkpoint == result.checkpoint
    assert again.metrics == result.metrics


def test_frozen_vision_and_lora(checkpoint: Path, tmp_path: Path) -> None:
    start = dict(AutoModelForImageTextToText.from_pretrained(checkpoint).named_parameters())
    for name, changes in {"frozen": {"freeze_vision": True}, "lora": {"lora_rank": 2}}.items():
        result = train_sft(checkpoint, lessons(), picture, lesson_config(steps=2, **changes), tmp_path / name, 0)
        trained = dict(AutoModelForImageTextToText.from_pretrained(result.checkpoint).named_parameters())
        same = {key for key in start if torch.equal(start[key], trained[key])}
        if name == "frozen":
            assert same
            assert all("vision_model" in key or "connector" in key for key in same)
        else:
            # Merged adapters change linear weights only.
            assert "model.text_model.norm.weight" in same
            assert "model.text_model.layers.0.mlp.up_proj.weight" not in same


def test_rows_cover_replies_only_and_equal_what_an_engine_sampled(checkpoint: Path, encoder: Encoder) -> None:
    policy = TransformersPolicy(checkpoint, picture)
    lesson = lessons()[0].turns[1]
    (completion,) = policy.complete_batch([lesson.prompt], [Sampling(1.0, 5, key=(4,))])
    sampled = rows_of(episode(question(), [replace(lesson, completion=completion)]))[0]
    taught = encode_turn(lesson, encoder)
    assert sampled.prompt_ids == taught.prompt_ids
    assert sampled.completion_ids == completion.token_ids
    assert sampled.images == taught.images == (shown("p0"),)
    assert taught.completion_ids[-1] == encoder.tokenizer.eos_token_id
    assert sum(taught.mask) == len(taught.completion_ids)


def test_sft_errors_name_what_to_do(encoder: Encoder) -> None:
    with pytest.raises(DataError, match="sft_dataset"):
        sft_rows([], encoder, 100)
    with pytest.raises(DataError, match="max_length"):
        sft_rows(lessons(), encoder, 16)


def test_all_processes_have_written_before_a_checkpoint_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process meets the others, and the first one marks the folder only then."""
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    marked: list[bool] = []

    class Processes:
        def wait_for_everyone(self) -> None:
            marked.append((folder / MARKER).is_file())

    monkeypatch.setattr(loop, "PartialState", Processes)
    callback = RunCallback(None, None)
    for leads in (False, True):
        state = SimpleNamespace(global_step=2, is_world_process_zero=leads)
        callback.on_save(SimpleNamespace(output_dir=str(tmp_path)), state, None)
        assert (folder / MARKER).is_file() is leads
    assert marked == [False, False]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_bfloat16_profile_trains_float32_weights(checkpoint: Path, tmp_path: Path, stage: str) -> None:
    optimizer = OptimizerConfig(learning_rate=1e-6, schedule="constant", bf16=True)
    if stage == "sft":
        taught = lesson_config(optimizer=optimizer, steps=1)
        result = train_sft(checkpoint, lessons(), picture, taught, tmp_path, 0, dtype="bfloat16")
    else:
        index = SmallIndex(pages_of("acme staff q3 47", "borel staff q3 12"))
        result = train_grpo(
            checkpoint, QUESTIONS, Environment(index, AGENT), index, rollout_config(optimizer=optimizer, steps=1),
            tmp_path, 5, dtype="bfloat16", context=RewardContext(judge=reward),
        )  # fmt: skip
    before, after = weights_of(checkpoint), weights_of(result.checkpoint)
    assert {value.dtype for value in after.values()} == {torch.float32}
    moved = (after["lm_head.weight"] - before["lm_head.weight"]).abs()
    # AdamW's first step is the learning rate, 1e-6; a bfloat16 weight of 0.1 moves by 4e-4 or not at all.
    assert float(moved.max()) < 1e-5
    if stage == "sft":  # the tiny model's rollouts are all malformed, which teaches nothing
        assert float((moved > 0).float().mean()) > 0.5


def test_only_lora_leaves_the_engines_precision(checkpoint: Path) -> None:
    model, _ = load_for_training(checkpoint, dtype=trained_dtype("bfloat16", 2))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert trained_dtype("bfloat16", 0) == "float32"


QUESTIONS = [
    Question(f"q{i}", f"what is {name} staff ?", ("47",), answer_format="Exact", gold_pages=(f"report/{i:05d}",))
    for i, name in enumerate(("acme", "borel"), start=1)
]


def reward(asked: Question, answer: str) -> float:
    return float(len(answer) % 5) / 4


def rollout_config(**changes: object) -> GRPOConfig:
    values = {
        "optimizer": OptimizerConfig(learning_rate=1e-3),
        "steps": 3,
        "questions_per_step": 2,
        "group_size": 3,
        "reward": "answer_only",
        "beta": 0.02,
        "save_steps": 2,
        "micro_batch_tokens": 512,
        "dynamic_sampling": "keep",
    }
    return GRPOConfig(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("credit", ["trajectory", "section"])
def test_grpo_on_a_real_environment(checkpoint: Path, tmp_path: Path, credit: str) -> None:
    index = SmallIndex(pages_of("acme staff q3 47", "borel staff q3 12"))
    steps: list[dict[str, float]] = []
    finished: list[Trajectory] = []
    rolled: list[tuple[int, int]] = []
    config = rollout_config(credit=credit)

    def train() -> Path:
        return train_grpo(
            checkpoint,
            QUESTIONS,
            Environment(index, AGENT),
            index,
            config,
            tmp_path / "out",
            5,
            context=RewardContext(judge=reward),
            on_step=steps.append,
            on_episode=finished.append,
            on_rollouts=lambda step, trajectories: rolled.append((step, len(trajectories))),
        ).checkpoint

    final = train()
    assert rolled == [(0, 6), (1, 6), (2, 6)]
    assert len({t.trajectory_id for t in finished if t.reward is not None}) == len(finished) == 18
    assert [s["step"] for s in steps] == [1.0, 2.0, 3.0]
    assert steps[0]["episodes"] == 6.0
    AutoProcessor.from_pretrained(final)
    AutoModelForImageTextToText.from_pretrained(final)
    assert train() == final
    assert len(steps) == 3


def test_recomputed_log_probabilities_are_those_of_sampling(checkpoint: Path, tmp_path: Path) -> None:
    """What the engine recorded while sampling is what scoring computes, on every row of real episodes."""
    from visor_core.training.batching import collate, plan
    from visor_core.training.forward import add_row_head, prepare
    from visor_core.training.loop import forbidden_ids

    index = SmallIndex(pages_of("acme staff q3 47", "borel staff q3 12"))
    policy = TransformersPolicy(checkpoint, index)
    trajectories = run_reference(Environment(index, AGENT), policy, QUESTIONS, rollouts=4, seed=1, temperature=0.7)
    rows = [r for i, t in enumerate(trajectories) for r in rows_of(t, i)]
    assert any(r.images for r in rows)
    add_row_head(policy.model, temperature=0.7, forbidden=forbidden_ids(policy.model, policy.encoder.processor))
    for (part,) in plan(rows, 512):
        chosen = [rows[i] for i in part]
        batch = collate(chosen, policy.encoder)
        with torch.no_grad():
            log_probs, _, _ = policy.model(row_batch=prepare(policy.model, policy.encoder, batch))
        for i, r in enumerate(chosen):
            found = log_probs[i, : len(r.completion_ids)]
            torch.testing.assert_close(found, torch.tensor(r.old_logprobs), rtol=0, atol=1e-4)
