"""The trainer as a whole: it learns, moves what it should, resumes bit-identically, samples dynamically."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from tests.visor_core.training.bandit import QUESTIONS, Bandit, Seeker, bandit_config, build_trainer, liked
from visor_core.agent.episode import OnFinished
from visor_core.agent.trajectory import Trajectory
from visor_core.config import OptimizerConfig
from visor_core.errors import ConfigError, DataError
from visor_core.questions import Question
from visor_core.training.checkpoints import complete_checkpoints, finished, resume_point
from visor_core.training.loop import RunCallback
from visor_core.training.rewards import RewardContext
from visor_core.training.rollouts import Collected, Collector, draw, weigh
from visor_core.training.turn_trainer import TurnGRPOTrainer
from visor_core.training.weights import end_training


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("credit", ["trajectory", "turn", "section"])
def test_the_bandit_is_solved(checkpoint: Path, tmp_path: Path, credit: str) -> None:
    steps: list[dict[str, float]] = []
    config = bandit_config(credit=credit, beta=0.01)
    trainer = build_trainer(checkpoint, tmp_path, config, callbacks=[RunCallback(steps.append, None)])
    seek(trainer)
    trainer.train()
    rewards = [step["reward"] for step in steps]
    assert rewards[0] < 0.6
    assert sum(rewards[-10:]) / 10 >= 0.95
    # The total leaves the search alone; the other modes judge it by itself.
    found = [step["rewards/pages_found"] for step in steps]
    assert found[0] < 0.6
    if credit != "trajectory":
        assert sum(found[-10:]) / 10 >= 0.95
    assert {"loss", "kl", "entropy", "grad_norm", "rewards/answer", "padding", "seconds/rollout", "staleness"} <= set(
        steps[0]
    )


def seek(trainer: TurnGRPOTrainer) -> None:
    """Two turns in place of one."""
    collector = trainer.collector
    assert collector is not None
    assert isinstance(collector.source, Bandit)
    collector.source = Seeker(collector.source.policy, trainer.grpo)


def test_credit_modes_teach_the_same_rollouts_differently(checkpoint: Path, tmp_path: Path) -> None:
    """What a search is taught follows the answer (trajectory), both (turn), or what it found (section)."""
    trainer = build_trainer(checkpoint, tmp_path, bandit_config(dynamic_sampling="keep", group_size=32))
    seek(trainer)
    collector = trainer.collector
    assert collector is not None
    taught: dict[str, dict[tuple[str, float, float], float]] = {}
    for credit in ("trajectory", "turn", "section"):
        config = collector.config = trainer.grpo.model_copy(update={"credit": credit})
        rollouts = collector.collect(0).rollouts
        rows = iter(weigh(rollouts, config))
        taught[credit] = {}
        for rollout in rollouts:
            (search,), _ = next(rows).advantages, next(rows)
            rewards = rollout.credit.rewards
            taught[credit][rollout.credit.group, rewards["pages_found"], rewards["answer"]] = search
    cases = [
        group
        for group in {key[0] for key in taught["turn"]}
        if all((group, f, a) in taught["turn"] for f in (0.0, 1.0) for a in (0.0, 1.0))
    ]
    assert cases
    for group in cases:
        given = {credit: {(f, a): values[group, f, a] for f in (0.0, 1.0) for a in (0.0, 1.0)}
                 for credit, values in taught.items()}  # fmt: skip
        alone, both, own = given["trajectory"], given["turn"], given["section"]
        assert alone[0, 0] == alone[1, 0] < 0 < alone[0, 1] == alone[1, 1]
        assert both[0, 0] < both[1, 0] < both[1, 1]
        assert both[0, 0] < both[0, 1] < both[1, 1]
        assert own[0, 0] == own[0, 1] < 0 < own[1, 0] == own[1, 1]


def moved(checkpoint: Path, output: Path, **changes: Any) -> tuple[set[str], set[str]]:
    """Names of parameters that moved and that stayed within a few steps (no group is skipped)."""
    config = bandit_config(steps=3, beta=0.05, dynamic_sampling="keep", **changes)
    trainer = build_trainer(checkpoint, output, config, tokens=4, judge=lambda q, a: float(len(a) % 7))
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    return changed, set(before) - changed


def test_every_trainable_parameter_moves(checkpoint: Path, tmp_path: Path) -> None:
    _, stayed = moved(checkpoint, tmp_path)
    # A key bias shifts all scores of a query alike: its gradient is 0 but for rounding.
    assert not {name for name in stayed if not name.endswith("k_proj.bias")}


def test_frozen_vision_stays(checkpoint: Path, tmp_path: Path) -> None:
    changed, stayed = moved(checkpoint, tmp_path, freeze_vision=True)
    assert stayed
    assert all("vision_model" in name or "connector" in name for name in stayed)
    assert not any("vision_model" in name or "connector" in name for name in changed)


def test_lora_moves_adapters_only(checkpoint: Path, tmp_path: Path) -> None:
    changed, stayed = moved(checkpoint, tmp_path, lora_rank=2)
    assert changed
    assert all("lora_" in name for name in changed)
    assert not any("lora_" in name for name in stayed)


def test_lora_is_merged_into_the_final_folder(checkpoint: Path, tmp_path: Path) -> None:
    config = bandit_config(steps=2, lora_rank=2, dynamic_sampling="keep")
    trainer = build_trainer(checkpoint, tmp_path, config, judge=lambda q, a: float(len(a) % 7))
    trainer.train()
    result = end_training(trainer, tmp_path, 2, {})
    loaded = AutoModelForImageTextToText.from_pretrained(result.checkpoint)
    assert "lora" not in " ".join(dict(loaded.named_parameters()))
    start = AutoModelForImageTextToText.from_pretrained(checkpoint)
    name = "model.text_model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(loaded.get_parameter(name), start.get_parameter(name))
    # What PEFT's own merge gives.
    expected = dict(trainer.accelerator.unwrap_model(trainer.model).merge_and_unload().named_parameters())
    found = dict(loaded.named_parameters())
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-6)


def run(checkpoint: Path, output: Path, *, stop_after: int | None = None, **changes: Any) -> list[dict[str, float]]:
    """Train 6 steps with checkpoints every 2; `stop_after` ends the run in the rollouts of that step."""
    steps: list[dict[str, float]] = []
    config = bandit_config(steps=6, save_steps=2, beta=0.02, optimizer=OptimizerConfig(learning_rate=1e-3), **changes)

    class KilledError(Exception):
        pass

    trainer = build_trainer(checkpoint, output, config, callbacks=[RunCallback(steps.append, None)], tokens=3)
    if stop_after is not None:
        assert trainer.collector is not None
        collect = trainer.collector.collect

        def dying(step: int) -> Collected:
            if step == stop_after:
                raise KilledError
            return collect(step)

        trainer.collector.collect = dying  # type: ignore[method-assign]
        with pytest.raises(KilledError):
            trainer.train(resume_from_checkpoint=str(point) if (point := resume_point(output)) else None)
        return steps
    point = resume_point(output)
    trainer.train(resume_from_checkpoint=str(point) if point else None)
    return steps


@pytest.mark.parametrize("changes", [{}, {"steps_ahead": 1}, {"dynamic_sampling": "refill"}])
def test_an_interrupted_run_ends_bit_identical(checkpoint: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Resuming in one process, with a torn checkpoint; tests/visor_core/training/test_kill.py really kills."""
    whole = run(checkpoint, tmp_path / "a", **changes)
    run(checkpoint, tmp_path / "b", stop_after=5, **changes)
    torn = tmp_path / "b" / "checkpoint-5"
    shutil.copytree(tmp_path / "b" / "checkpoint-4", torn)
    (torn / "complete.json").unlink()
    resumed = run(checkpoint, tmp_path / "b", **changes)
    assert not torn.exists()
    assert [s["step"] for s in resumed] == [5.0, 6.0]
    names = ["model.safetensors"]
    for name in names:
        left = load_file(tmp_path / "a" / "checkpoint-6" / name)
        right = load_file(tmp_path / "b" / "checkpoint-6" / name)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)
    assert resumed[-1]["reward"] == whole[-1]["reward"]
    assert resumed[-1]["loss"] == whole[-1]["loss"]


def test_steps_ahead_bounds_staleness_and_stops_at_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    steps = run(checkpoint, tmp_path, steps_ahead=1)
    assert [s["staleness"] for s in steps] == [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]


def test_checkpoints_hold_model_and_processor(checkpoint: Path, tmp_path: Path) -> None:
    run(checkpoint, tmp_path)
    found = complete_checkpoints(tmp_path)
    assert [folder.name for folder in found] == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    for folder in found:
        assert (folder / "model.safetensors").is_file()
        assert (folder / "processor_config.json").is_file()
    assert finished(tmp_path) is None


def collector(source: Any, **changes: Any) -> Collector:
    return Collector(QUESTIONS, source, bandit_config(**changes), 0, RewardContext(judge=liked))


class Fixed:
    """Rollouts with a digit for chosen questions' first rollout, so that only their groups are informative."""

    def __init__(self, bandit: Bandit, informative: set[str]) -> None:
        self.bandit = bandit
        self.informative = informative
        self.asked: list[list[str]] = []
        self.refresh = bandit.refresh

    def __call__(self, step: int, questions: Sequence[Question], on_finished: OnFinished) -> list[Trajectory]:
        self.asked.append([q.question_id for q in questions])
        found = []
        for number, trajectory in enumerate(self.bandit(step, questions, lambda t: None)):
            first = number % self.bandit.config.group_size == 0
            lucky = first and trajectory.question.question_id in self.informative
            found.append(replace(trajectory, answer="7" if lucky else "word"))
            on_finished(found[-1])
        return found


@pytest.fixture
def bandit(checkpoint: Path, tmp_path: Path) -> Bandit:
    trainer = build_trainer(checkpoint, tmp_path, bandit_config())
    assert isinstance(trainer.collector, Collector)
    assert isinstance(trainer.collector.source, Bandit)
    return trainer.collector.source


def test_equal_rewards_are_skipped_refilled_or_kept(bandit: Bandit) -> None:
    skip = collector(Fixed(bandit, {"q1"}), questions_per_step=2, dynamic_sampling="skip").collect(0)
    keep = collector(Fixed(bandit, {"q1"}), questions_per_step=2, dynamic_sampling="keep").collect(0)
    source = Fixed(bandit, {"q1"})
    refill = collector(source, questions_per_step=2, dynamic_sampling="refill").collect(0)
    assert len(keep.rollouts) == 2 * 8
    assert len(skip.rollouts) == 8 * (2 - skip.skipped_groups)
    assert {r.credit.group for r in refill.rollouts} == {"0-q1"}
    flat = [q for asked in source.asked for q in asked]
    assert len(flat) == len(set(flat))
    assert len(source.asked) > 1


def test_rows_beyond_the_limits_are_left_out_whole(bandit: Bandit) -> None:
    found = collector(bandit, max_prompt_tokens=16, dynamic_sampling="keep").collect(0)
    assert found.oversized_rows == 32
    assert all(not r.rows for r in found.rollouts)


def test_every_question_is_asked_once_an_epoch() -> None:
    asked = [q.question_id for step in range(4) for q in draw(QUESTIONS, 3, seed=1, step=step)]
    assert sorted(asked[:4]) == sorted(q.question_id for q in QUESTIONS)
    assert sorted(asked[4:8]) == sorted(q.question_id for q in QUESTIONS)
    assert draw(QUESTIONS, 3, 1, 2) == draw(QUESTIONS, 3, 1, 2)


def test_clear_errors(bandit: Bandit) -> None:
    with pytest.raises(DataError, match="no questions"):
        Collector([], bandit, bandit_config(), 0)
    with pytest.raises(ConfigError, match="reward_weights"):
        collector(bandit, reward_weights={"speed": 1.0})
