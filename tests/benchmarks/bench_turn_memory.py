"""Peak memory of an update against the number of turns: `visor`'s rebuilt contexts against the full history.

Real episodes of 4 to 20 turns on real pages, searching and zooming in turn, under `visor` and under `vrag` (the same
actions, full history); the nano model and the trainer's own update with one token budget for both. Each point is a
process of its own whose allocator gives freed blocks back, so that its peak follows the tensors alive.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.bench_step import ours
from tests.benchmarks.memory import begin_peak, peak_mib
from tests.benchmarks.nano_rows import NanoSetting, build, rows_for
from tests.nano_setting import AGENT, INDEX
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.strategies import preset
from visor_core.agent.trajectory import Trajectory
from visor_core.config import EvidenceConfig
from visor_core.nano.panels import LABELS
from visor_core.policies.base import Prompt
from visor_core.policies.scripted import ScriptedPolicy

TURNS = (4, 8, 12, 20)
STRATEGIES = ("visor", "vrag")
ROLLOUTS = 8
BUDGET = 256
"""Tokens of a micro-batch: more than `visor`'s longest row."""
LEDGER = 48
"""Tokens of the Evidence Space: full by the sixth turn."""
GOAL = 1.1
"""Flat: most memory at 20 turns for each MiB at 4."""
_FOLLOWS_TENSORS = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_ARENA_MAX": "1"}


def explorer(setting: NanoSetting) -> Callable[[Prompt], str]:
    """Searches a page, zooms into it, searches the next, …; never answers before it is forced to."""
    rng = random.Random(3)
    titles = itertools.cycle([page.title for page in setting.world.pages])
    searching = itertools.cycle((True, False))

    def write(prompt: Prompt) -> str:
        if prompt.forced_prefix:
            return f"{prompt.forced_prefix} 12</answer>"
        thought = f"<think> {next(titles)} {rng.choice(LABELS)} {rng.randint(10, 99)}</think>"
        if next(searching) or not prompt.images:
            return f"{thought}<search> {next(titles)}</search>"
        x, y = rng.randint(0, 7), rng.randint(0, 7)
        return f"{thought}<bbox>[{x},{y},{x + 3},{y + 3}]</bbox>"

    return write


def episodes(setting: NanoSetting, strategy: str, turns: int) -> list[Trajectory]:
    """Episodes of exactly `turns` turns."""
    wanted = AGENT.model_copy(update={"max_turns": turns, "evidence": EvidenceConfig(max_tokens=LEDGER)})
    environment = Environment(setting.index, preset(strategy, wanted), INDEX)
    return run_reference(environment, ScriptedPolicy(explorer(setting)), setting.questions[:1], rollouts=ROLLOUTS)


def one(folder: Path, strategy: str, turns: int) -> dict[str, float]:
    """Growth of this process's peak memory during one update (MiB), and its longest row (tokens)."""
    torch.set_num_threads(1)
    setting = build(folder)
    played = episodes(setting, strategy, turns)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = ours(setting, Path(scratch), BUDGET, freeze=False)
        rows = rows_for(trainer.encoder, played)
        # Gradients and library buffers exist before, pictures are in the cache: only the update's own memory is seen.
        trainer.update(trainer.model, sorted(rows, key=lambda w: w.row.length)[:1])
        for row in rows:
            for ref in row.row.images:
                trainer.encoder.image(ref)
        begin_peak()
        before = peak_mib()
        trainer.update(trainer.model, rows)
        grown = peak_mib() - before
    return {"mib": grown, "longest_row": max(w.row.length for w in rows), "rows": len(rows)}


def measure(folder: Path, strategy: str, turns: int) -> dict[str, float]:
    """`one` in a fresh process."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_turn_memory", str(folder), strategy, str(turns)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | _FOLLOWS_TENSORS)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(home: Path) -> dict[str, Any]:
    """Measure and print."""
    folder = home / "bench" / "nano-setting"
    folder.mkdir(parents=True, exist_ok=True)
    build(folder)
    found = {name: {turns: measure(folder, name, turns) for turns in TURNS} for name in STRATEGIES}
    table = Table(title=f"update of {ROLLOUTS} rollouts, {BUDGET} tokens a micro-batch", title_justify="left")
    table.add_column("turns")
    for name in STRATEGIES:
        table.add_column(f"{name}, MiB", justify="right")
        table.add_column("longest row", justify="right")
    for turns in TURNS:
        cells = [f"{found[name][turns][key]:.0f}" for name in STRATEGIES for key in ("mib", "longest_row")]
        table.add_row(str(turns), *cells)
    Console().print(table)
    first, last = TURNS[0], TURNS[-1]
    growth = {name: found[name][last]["mib"] / found[name][first]["mib"] for name in STRATEGIES}
    ratio = found["vrag"][last]["mib"] / found["visor"][last]["mib"]
    return {
        "results": [
            {
                "name": "turn_memory/visor",
                "value": growth["visor"],
                "unit": f"× memory at {first} turns, at {last}",
                "goal": f"<= {GOAL}",
                "met": growth["visor"] <= GOAL,
            },
            {
                "name": "turn_memory/full_history",
                "value": ratio,
                "unit": f"× memory of visor at {last} turns",
                "goal": "reported",
                "met": True,
            },
        ],
        "raw": found,
        "growth": growth,
    }


if __name__ == "__main__":
    print(json.dumps(one(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
