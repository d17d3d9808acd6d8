"""How far a stage is, as two small files in its folder, readable by any process while it runs.

`progress.json` is the state now (replaced atomically); `metrics.jsonl` grows by a line a step and is what curves are
drawn from. A resumed stage repeats the steps after its checkpoint; readers keep the last line of each step.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from visor_core.files import write_json

PROGRESS = "progress.json"
METRICS = "metrics.jsonl"


class StageProgress:
    """The writing side, held by whichever process does the work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def show(self, done: int, total: int, text: str = "") -> None:
        """Say that `done` of `total` units are finished."""
        write_json(self.folder / PROGRESS, {"done": done, "total": total, "text": text})

    def step(self, values: dict[str, Any]) -> None:
        """Append one step's scalars and when it ended; anything that is no number or text is left out."""
        kept = {k: v for k, v in values.items() if isinstance(v, int | float | str) and v == v}
        with (self.folder / METRICS).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({**kept, "time": round(time.time(), 3)}) + "\n")


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
