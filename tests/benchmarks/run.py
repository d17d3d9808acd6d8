"""Runs the measurements: every `bench_<name>.py` beside this file, or one of them.

Each has `main(home: Path) -> dict` with the keys name, value, unit, goal, met and its raw figures; it prints its own
table. Results go to VISOR_HOME/bench/<name>.json, and a summary is printed at the end. A missed goal is no failure of
the command, a measurement that cannot run is.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from visor_core.errors import VisorError

HERE = Path(__file__).resolve().parent


def names() -> list[str]:
    """Names of the measurements there are."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def run_one(name: str, home: Path, console: Console) -> list[dict[str, Any]]:
    """Run one measurement and keep its result; one that yields several results returns them under `results`."""
    console.rule(name)
    began = time.monotonic()
    module = importlib.import_module(f"tests.benchmarks.bench_{name}")
    measured: dict[str, Any] = module.main(home)
    measured = {"name": name, **measured, "seconds": round(time.monotonic() - began, 1)}
    target = home / "bench" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(measured, indent=1, default=str), encoding="utf-8")
    partial.replace(target)
    found = measured.get("results")
    return found if isinstance(found, list) else [measured]


def markdown(home: Path) -> str:
    """The kept results of all measurements as the rows of a table: name, what, measured, goal."""
    lines = ["| name | what | measured | goal |", "|---|---|---|---|"]
    for path in sorted((home / "bench").glob("*.json")):
        measured = json.loads(path.read_text(encoding="utf-8"))
        found = measured["results"] if isinstance(measured.get("results"), list) else [measured]
        for row in found:
            missed = "" if row.get("met", True) else " (missed)"
            value = row["value"]
            shown = f"{value:.3g}" if isinstance(value, float) else str(value)
            told = row["name"] if row["name"] != measured["name"] or found == [measured] else ""
            lines.append(
                f"| `{measured['name']}` | {told} | {shown} {row.get('unit', '')}{missed} | {row.get('goal') or '–'} |"
            )
    return "\n".join(lines)


def main() -> int:
    """Run what was asked for; returns 1 if a measurement could not run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=names(), help="one measurement")
    parser.add_argument("--table", action="store_true", help="only print the kept results, as the README has them")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("VISOR_HOME", ".visor")))
    options = parser.parse_args()
    console = Console()
    if options.table:
        print(markdown(options.home.resolve()))
        return 0
    table = Table(title="measured", title_justify="left", box=None)
    for column in ("name", "value", "unit", "goal", "met", "seconds"):
        table.add_column(column, justify="right" if column in ("value", "seconds") else "left")
    failed = 0
    for name in [options.only] if options.only else names():
        try:
            rows = run_one(name, options.home.resolve(), console)
        except VisorError as error:
            failed += 1
            console.print(f"{name} could not run: {error}", markup=False, soft_wrap=True)
            continue
        for row in rows:
            cells = [row.get(column, "") for column in ("name", "value", "unit", "goal", "met", "seconds")]
            table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells))
    console.print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
