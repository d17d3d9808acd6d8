"""Checkpoints of a run: which is complete, where to resume, and the final Hugging Face folder.

The Trainer writes `checkpoint-N` in place; a kill in the middle leaves a torn folder. A marker written last, by an
atomic rename, says that a folder is complete; torn ones are removed before resuming.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import PartialState

from visor_core.errors import DataError
from visor_core.files import write_json
from visor_core.policies.weights_check import (
    UnfitWeightsError,
    refuse_damaged,
    refuse_not_finite,
    refuse_unfit,
    stored_weights,
)

MARKER = "complete.json"
FINAL = "final"

OnStep = Callable[[dict[str, float]], None]
OnCheckpoint = Callable[[Path, int, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training stage hands on: the final Hugging Face folder, steps done and the last step's metrics."""

    checkpoint: Path
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    checkpoints: tuple[Path, ...] = ()


def mark_complete(folder: Path, step: int, metrics: dict[str, float]) -> None:
    """Write the marker that ends a checkpoint."""
    write_json(folder / MARKER, {"step": step, "metrics": metrics})


def step_of(folder: Path) -> int:
    """The step in a checkpoint folder's name."""
    return int(folder.name.rpartition("-")[2])


def complete_checkpoints(output: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted((p.parent for p in output.glob(f"checkpoint-*/{MARKER}")), key=step_of)


def resume_point(output: Path) -> Path | None:
    """The last complete checkpoint; torn folders are removed by the main process, for which the others wait.

    Every process must call, once they know of each other (a trainer's construction sees to that).

    Raises:
        DataError: if its files were damaged since.
    """
    state = PartialState()
    with state.main_process_first():
        if state.is_main_process:
            for folder in output.glob("checkpoint-*"):
                if folder.is_dir() and not (folder / MARKER).is_file():
                    shutil.rmtree(folder)
        complete = complete_checkpoints(output)
    if not complete:
        return None
    try:
        refuse_damaged(complete[-1])
        refuse_not_finite(stored_weights(complete[-1]))
    except UnfitWeightsError as error:
        raise DataError(f"{complete[-1]} is damaged ({error}): delete it and run the stage again") from error
    return complete[-1]


class FittingCheckpoints:
    """Mixin of the trainers: a checkpoint that does not hold the model's weights is refused, not warned of."""

    model: Any

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """What transformers' Trainer calls once it has loaded a checkpoint's weights to continue from.

        Raises:
            DataError: naming keys.
        """
        tied = set(getattr(self.model, "all_tied_weights_keys", None) or {})
        report = {
            "missing_keys": set(load_result.missing_keys) - tied,
            "unexpected_keys": load_result.unexpected_keys,
            "mismatched_keys": (),
        }
        try:
            refuse_unfit(report, len(self.model.state_dict()))
        except UnfitWeightsError as error:
            raise DataError(f"the checkpoint to continue from is unfit ({error}): delete it and run again") from error
        self.model.tie_weights()


def best_checkpoint(complete: Sequence[Path]) -> Path | None:
    """The complete checkpoint with the highest reward, or where none was earned the lowest loss; the newest of equals.

    Raises:
        DataError: if a marker is damaged.
    """
    scored = []
    for folder in complete:
        try:
            metrics = json.loads((folder / MARKER).read_text(encoding="utf-8"))["metrics"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{folder / MARKER} is damaged: delete {folder}") from error
        if "reward" in metrics or "loss" in metrics:
            score = float(metrics["reward"]) if "reward" in metrics else -float(metrics["loss"])
            scored.append((score, step_of(folder)))
    best = max(scored, default=None)
    return None if best is None else next(folder for folder in complete if step_of(folder) == best[1])


def remove_old(output: Path, limit: int) -> None:
    """Remove complete checkpoints but the newest `limit` and the best; to be called once the newest is complete.

    So a killed run has one to continue from at every moment.
    """
    complete = complete_checkpoints(output)
    kept = {*complete[-limit:], best_checkpoint(complete)}
    for folder in complete:
        if folder not in kept:
            # First, so that a kill in between leaves a torn folder and not one that passes for complete.
            (folder / MARKER).unlink()
            shutil.rmtree(folder)


def finished(output: Path) -> TrainResult | None:
    """The result of a run that already ended, or None.

    Raises:
        DataError: if its record is damaged.
    """
    marker = output / FINAL / MARKER
    if not marker.is_file():
        return None
    try:
        record = json.loads(marker.read_text(encoding="utf-8"))
        return TrainResult(output / FINAL, int(record["step"]), record["metrics"], tuple(complete_checkpoints(output)))
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{marker} is damaged: delete {output / FINAL} and run the stage again") from error


def save_final(write: Callable[[Path], None], output: Path, step: int, metrics: dict[str, float]) -> TrainResult:
    """Let `write` fill a folder, mark it complete and put it in the place of `final/` by an atomic rename."""
    partial = output / f"{FINAL}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    mark_complete(partial, step, metrics)
    shutil.rmtree(output / FINAL, ignore_errors=True)
    partial.rename(output / FINAL)
    return TrainResult(output / FINAL, step, metrics, tuple(complete_checkpoints(output)))
