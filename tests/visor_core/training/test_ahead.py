"""Rollouts one step ahead: they run while the update does, on the weights before it, and never older than allowed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny_model import prompt
from tests.visor_core.training.bandit import bandit_config, build_trainer
from visor_core.agent.episode import OnFinished
from visor_core.agent.trajectory import Trajectory
from visor_core.policies.base import Sampling
from visor_core.questions import Question
from visor_core.training.ahead import Ahead, Timed
from visor_core.training.engines import LivePolicy
from visor_core.training.loop import RunCallback
from visor_core.training.rollouts import Collected

PATIENCE = 60.0
"""Seconds after which a test gives up waiting for the other thread."""


def trainer_ahead(checkpoint: Path, output: Path, steps: list[dict[str, float]], **changes: Any) -> Any:
    values = {"steps": 4, "steps_ahead": 1, "save_steps": 1000, "dynamic_sampling": "keep", **changes}
    config = bandit_config(**values)
    return build_trainer(checkpoint, output, config, callbacks=[RunCallback(steps.append, None)], tokens=3)


def test_rollouts_and_update_run_at_the_same_time(checkpoint: Path, tmp_path: Path) -> None:
    """Each waits for the other to be under way: taken one after the other, neither would ever begin."""
    steps: list[dict[str, float]] = []
    trainer = trainer_ahead(checkpoint, tmp_path, steps)
    source, update = trainer.collector.source, trainer.update
    updating = [threading.Event() for _ in range(4)]
    rolling = [threading.Event() for _ in range(5)]
    rolling[4].set()  # nothing follows the last step

    class Meeting:
        refresh = staticmethod(source.refresh)

        def __call__(self, step: int, questions: Sequence[Question], on_finished: OnFinished) -> list[Trajectory]:
            rolling[step].set()
            if step:
                assert updating[step - 1].wait(PATIENCE), "the update did not begin while this step was rolled out"
            return source(step, questions, on_finished)  # type: ignore[no-any-return]

    def meeting(*args: Any, **options: Any) -> Any:
        step = trainer.state.global_step
        updating[step].set()
        assert rolling[step + 1].wait(PATIENCE), "no rollouts under way during the update"
        return update(*args, **options)

    trainer.collector.source = Meeting()
    trainer.update = meeting
    trainer.train()
    assert [s["staleness"] for s in steps] == [0.0, 1.0, 1.0, 1.0]
    assert all(s["seconds/overlap"] > 0.0 for s in steps[1:])


def test_a_snapshot_keeps_its_weights_until_refreshed(checkpoint: Path, tmp_path: Path) -> None:
    trainer = trainer_ahead(checkpoint, tmp_path, [])
    live = LivePolicy(trainer, snapshot=True)

    def drawn() -> Any:
        return live.policy.complete_batch([prompt(pages=("p1",))], [Sampling(1.0, 4, key=(1,))])[0].logprobs

    before = drawn()
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.mul_(1.1)
    assert drawn() == before
    live.refresh()
    assert drawn() != before


def test_stale_rollouts_are_corrected_by_the_sampled_log_probabilities(checkpoint: Path, tmp_path: Path) -> None:
    """Steps of staleness 1 give the loss the recorded log-probabilities; fresh ones do not need them."""
    trainer = trainer_ahead(checkpoint, tmp_path, [], optimizer={"learning_rate": 1e-2, "schedule": "constant"})
    seen: list[tuple[int, float | None]] = []
    inner = trainer._compute_loss

    def watching(model: Any, inputs: dict[str, Any]) -> Any:
        old = inputs.get("old_per_token_logps")
        gap = None
        if old is not None:
            with torch.no_grad():
                now = model(row_batch=inputs["pixel_values"])[0]
            gap = float(((now - old).abs() * inputs["completion_mask"]).max())
        seen.append((trainer.state.global_step, gap))
        return inner(model, inputs)

    trainer._compute_loss = watching
    trainer.train()
    assert [gap for step, gap in seen if step == 0] == [None] * sum(step == 0 for step, _ in seen)
    late = [gap for step, gap in seen if step > 0]
    assert all(gap is not None for gap in late)
    # The weights have moved on since, so the ratio is not 1.
    assert max(gap for gap in late if gap is not None) > 1e-3


def test_older_rollouts_than_allowed_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    trainer = trainer_ahead(checkpoint, tmp_path, [])
    rollouts: Future[Timed] = Future()
    rollouts.set_result(Timed(Collected((), ()), 0.0, 0.0))
    trainer._ahead = Ahead(3, 1, rollouts)
    with pytest.raises(AssertionError, match="2 optimizer steps old"):
        trainer._collect(3)


def test_a_failure_in_the_thread_is_the_trainers(checkpoint: Path, tmp_path: Path) -> None:
    trainer = trainer_ahead(checkpoint, tmp_path, [])
    source = trainer.collector.source

    class Failing:
        refresh = staticmethod(source.refresh)

        def __call__(self, step: int, questions: Sequence[Question], on_finished: OnFinished) -> list[Trajectory]:
            if step == 2:
                raise OSError("the index is gone")
            return source(step, questions, on_finished)  # type: ignore[no-any-return]

    trainer.collector.source = Failing()
    with pytest.raises(OSError, match="the index is gone"):
        trainer.train()
