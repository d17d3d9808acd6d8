"""Peak memory of an update against the number of turns: `visor`'s rebuilt contexts against the full history.

Episodes of 4 to 20 turns that look at a new crop in every turn, a model of the nano architecture, one rollout an
update. Rows are cut one a micro-batch, so that the peak is that of the longest row. Each point is a process of its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.bench_step import ours
from tests.benchmarks.nano_rows import build
from visor_core.policies.base import ImageRef
from visor_core.policies.encoding import Encoder
from visor_core.training.batching import WeightedRow
from visor_core.training.rows import TurnRow

TURNS = (4, 8, 12, 20)
THOUGHT = 24
"""Tokens of a reply, and of what a turn adds to the Evidence Space."""
GOAL = 1.1


def rows(encoder: Encoder, pages: list[str], turns: int, window: int | None) -> list[WeightedRow]:
    """One rollout's rows: evidence of all turns, pictures of the last `window` (all without a window)."""
    made = []
    for turn in range(1, turns + 1):
        shown = range(max(1, turn - window) if window else 1, turn)
        images = tuple(ImageRef(pages[i % len(pages)], 128, 128) for i in shown)
        prompt = [encoder.tokenizer.bos_token_id, *range(20, 36)]
        for ref in images:
            prompt += [*encoder.image(ref).ids, *range(20, 32)]
        # The full history repeats whole replies, the Evidence Space one short line a turn.
        prompt += list(range(20, 26)) * (turn - 1) if window else [21] * (THOUGHT * (turn - 1))
        reply = (22,) * THOUGHT
        row = TurnRow(0, "g", turn, tuple(prompt), reply, images, (), (True,) * THOUGHT)
        made.append(WeightedRow(row, (1.0,) * THOUGHT, (1.0,) * THOUGHT))
    return made


def one(folder: Path, turns: int, window: int | None) -> float:
    """Growth of this process's peak memory during one update, MiB."""
    torch.set_num_threads(1)
    setting = build(folder)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = ours(setting, Path(scratch), 64, freeze=False)
        made = rows(trainer.encoder, [page.page_id for page in setting.world.pages], turns, window)
        trainer.update(trainer.model, made[:1])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        trainer.update(trainer.model, made)
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def measure(folder: Path, turns: int, window: int | None) -> float:
    """`one` in a fresh process."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_turn_memory", str(folder), str(turns), str(window or 0)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main(home: Path) -> dict[str, Any]:
    """Measure and print; flat means that 20 turns need at most as much again as 8 turns plus the text they add."""
    folder = home / "bench" / "nano-setting"
    folder.mkdir(parents=True, exist_ok=True)
    build(folder)
    found = {
        name: {turns: measure(folder, turns, window) for turns in TURNS}
        for name, window in (("visor", 2), ("full history", None))
    }
    table = Table(title="peak memory of an update, MiB", title_justify="left")
    table.add_column("turns")
    for name in found:
        table.add_column(name, justify="right")
    for turns in TURNS:
        table.add_row(str(turns), *(f"{found[name][turns]:.0f}" for name in found))
    Console().print(table)
    last = TURNS[-1]
    return {
        "value": found["full history"][last] / max(1.0, found["visor"][last]),
        "unit": f"× memory of full history at {last} turns",
        "goal": GOAL,
        "met": found["full history"][last] / max(1.0, found["visor"][last]) >= GOAL,
        "mib": found,
    }


if __name__ == "__main__":
    print(json.dumps(one(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) or None)))
