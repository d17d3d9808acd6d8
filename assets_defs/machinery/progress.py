"""How far a stage is, as two small files in its folder, readable by any process while it runs.

`progress.json` is the state now (replaced atomically); `metrics.jsonl` grows by a line a step and is what curves are
drawn from. A resumed stage repeats the steps after its checkpoint; readers keep the last line of each step. Now and
then the log of the run says it too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from visor_core.files import write_json
from visor_core.tracking.values import TIME

PROGRESS = "progress.json"
METRICS = "metrics.jsonl"
SAID_EVERY = 15.0
"""Seconds between two words on how far a stage is in the log of its run."""


class StageProgress:
    """The writing side, held by whichever process does the work; `say` puts a line into the log of its run."""

    def __init__(self, folder: Path, say: Callable[[str], None] | None = None) -> None:
        self.folder, self.say = folder, say
        self._said = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def show(self, done: int, total: int, text: str = "") -> None:
        """Say that `done` of `total` units are finished."""
        write_json(self.folder / PROGRESS, {"done": done, "total": total, "text": text})
        if self.say and time.monotonic() - self._said >= SAID_EVERY:
            self._said = time.monotonic()
            self.say(f"{done} of {total} {text}".strip() if total else text)

    def step(self, values: dict[str, Any]) -> dict[str, Any]:
        """Append one step's scalars and when it ended; anything that is no number or text is left out.

        Returns:
            What was kept.
        """
        kept = {k: v for k, v in values.items() if isinstance(v, int | float | str) and v == v}
        row = {**kept, TIME: round(time.time(), 3)}
        with (self.folder / METRICS).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")
        return row


def read_progress(folder: Path) -> tuple[int, int, str]:
    """(done, total, text); zeros before the first report."""
    path = folder / PROGRESS
    if not path.is_file():
        return 0, 0, ""
    state = json.loads(path.read_text(encoding="utf-8"))
    return int(state["done"]), int(state["total"]), str(state["text"])


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """One row a step of each phase of training, in order, the last report of each."""
    path = folder / METRICS
    if not path.is_file():
        return []
    latest: dict[tuple[str, int], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.endswith("}"):
            continue  # a kill in the middle of a write leaves half a line
        row = json.loads(line)
        latest[(str(row.get("phase", "")), int(row.get("step", len(latest))))] = row
    return list(latest.values())
