"""Two processes of one thread against one process of two threads, and of one: seconds of the nano training steps.

Steps of the base model (vision: 64 pictures; alignment: 128 lessons) and of GRPO (128 episodes of the warm start, where
this VISOR_HOME has one) with the settings of `nano`, all ways in turn, twice; the faster of each counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.nano_replay import trained_checkpoints
from tests.benchmarks.nano_rows import build

SCRIPT = "tests.benchmarks.processes_script"
WAYS = {"one_thread": (1, 1), "two_threads": (1, 2), "two_processes": (2, 1)}
"""Processes and threads of each."""
STAGES = ("vision", "alignment", "grpo")
REPEATS = 2


def main(home: Path) -> dict[str, Any]:
    """Measure and print; no goal is set."""
    warm_start = next(iter(trained_checkpoints(home, "sft_checkpoint")), None)
    measured: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(folder / "setting", warm_start=warm_start)
        for number in range(REPEATS):
            for way, (processes, threads) in WAYS.items():
                measured[way].append(_steps(folder, f"{number}-{way}", warm_start, processes, threads))
    fastest = {way: {s: min(run[s] for run in runs) for s in STAGES} for way, runs in measured.items()}
    *others, two = fastest
    ratios = {way: {s: fastest[way][s] / fastest[two][s] for s in STAGES} for way in others}
    policy = "warm start" if warm_start else "untrained model"
    table = Table(title=f"seconds of a step (GRPO: 128 episodes of the {policy})", title_justify="left")
    for column in ("", *STAGES):
        table.add_column(column, justify="right" if column else "left")
    for way, found in fastest.items():
        table.add_row(way, *(f"{found[stage]:.2f}" for stage in STAGES))
    for way, found in ratios.items():
        table.add_row(f"{way} over {two}", *(f"{found[stage]:.2f}" for stage in STAGES))
    Console().print(table)
    results = [
        {"name": f"{way}_over_{two}_{stage}", "value": round(ratio, 3), "unit": "×", "goal": "", "met": True}
        for way, found in ratios.items()
        for stage, ratio in found.items()
    ]
    return {"results": results, "raw": measured, "played_by": policy}


def _steps(folder: Path, name: str, warm_start: Path | None, processes: int, threads: int) -> dict[str, float]:
    output = folder / name
    output.mkdir()
    order = output / "order.json"
    given = {"folder": folder / "setting", "warm_start": warm_start, "output": output, "threads": threads}
    order.write_text(json.dumps(given, default=str), encoding="utf-8")
    started = [SCRIPT] if processes == 1 else ["pipelines.workers.processes", str(processes), SCRIPT]
    subprocess.run(
        [sys.executable, "-m", *started, str(order)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "1000"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    found: dict[str, float] = json.loads((output / "seconds.json").read_text(encoding="utf-8"))
    return found
