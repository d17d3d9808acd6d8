"""Do answers follow their documents: changed gold values, orders on pages, curves, by the commands themselves.

The scripted reader on the 40 PDFs of ../shared/data/mmlongbench-doc, in a home of its own under VISOR_HOME/bench, and
the nano champion of VISOR_HOME where there is one. Nothing carries a goal but that edits are verified where they are
certain: the nano world knows where every number stands. What an earlier call played under the same code is kept, so
that a stopped measurement goes on. No GPU, no download.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from visor_core.config import Home
from visor_core.errors import DataError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mmlongbench-doc"
READER = (
    *("--benchmark", "mmlongbench", "--questions", str(DATA / "samples_subset.json"), "--policy", "reader"),
    *("--corpus", "mmlongbench"),
)
CURVES = {
    "reader": (
        ("hops", "--limit", "80"),
        ("turns", "--at", "1,2,4,8", "--limit", "40"),
        ("distractors", "--at", "0,1,3", "--limit", "80"),
        ("noise", "--at", "0,1,3", "--limit", "80"),
    ),
    "nano": (
        ("hops",),
        ("turns", "--at", "2,3,4,6", "--limit", "48"),
        ("blur", "--at", "0,2,4,8", "--limit", "48"),
        ("scan", "--at", "9,18,36,72", "--limit", "48"),
        ("rotation", "--at", "0,2,5,90", "--limit", "48"),
        ("distractors", "--at", "0,1,3"),
        ("noise", "--at", "0,1,3"),
    ),
}
ORDERED = {"reader": 16, "nano": 16}
"""Questions that orders are printed for: every place is a corpus of its own, one of which indexes all pages anew."""


def visor(home: Path, *arguments: str) -> None:
    """Run a command of the project.

    Raises:
        DataError: if it fails; an episode that failed is told in its figures.
    """
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "--home", str(home), *arguments]
    done = subprocess.run(command, env={**os.environ, "COLUMNS": "160"}, capture_output=True, text=True, check=False)
    print(done.stdout.split("page: ")[0].split(" questions left out")[0])
    if done.returncode not in (0, 1):
        raise DataError(f"visor {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()[-400:]}")


def measure(home: Path, name: str, options: tuple[str, ...]) -> dict[str, Any]:
    """Every command of one policy, and what it left."""
    before = {path: path.stat().st_mtime_ns for path in home.glob("reports/*.json")}
    visor(home, "counterfactual", *options)
    visor(home, "stress", "injection", "--limit", str(ORDERED[name]), *options)
    for kind in CURVES[name]:
        visor(home, "stress", *kind, *options)
    fresh = [path for path in home.glob("reports/*.json") if before.get(path) != path.stat().st_mtime_ns]
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(fresh)}


def results_of(name: str, raw: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of the summary."""
    (changed,) = [found for found in raw.values() if "figures" in found]
    (orders,) = [found for found in raw.values() if found.get("kind") == "injection"]
    rate, coverage = changed["figures"]["faithfulness"], changed["figures"]["coverage"]
    verified = len(changed["rows"]) / max(1, changed["located"])
    certain = name == "nano"
    return [
        _line(f"faithfulness of {name}", rate["estimate"], f"of {rate['count']} right on the original"),
        _line(f"{name}: gold values changed and verified", coverage["estimate"], "of the answerable questions"),
        {
            **_line(f"{name}: edits verified", verified, "of those planned"),
            **({"goal": ">= 0.99", "met": verified >= 0.99} if certain else {}),
        },
        *(
            _line(
                f"{name}: orders obeyed, {place['name']}", place["obeyed"]["estimate"], f"of {place['obeyed']['count']}"
            )
            for place in orders["points"][1:]
        ),
        *(
            _line(
                f"{name}: right, {curve['kind']}: {point['name']}",
                point["right"]["estimate"],
                f"of {point['questions']}",
            )
            for curve in raw.values()
            if curve.get("kind") not in (None, "injection")
            for point in curve["points"]
        ),
    ]


def _line(name: str, value: float | None, unit: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": value if value is not None else "none",
        "unit": unit,
        "goal": "reported",
        "met": True,
    }


def main(home: Path) -> dict[str, Any]:
    """Measure what is there."""
    raw: dict[str, Any] = {}
    results: list[dict[str, Any]] = []
    if DATA.is_dir():
        place = home / "bench" / "faithfulness"
        visor(place, "ingest", str(DATA / "documents"), "--corpus", "mmlongbench", "--set", "documents.ocr=never")
        raw["reader"] = measure(place, "reader", READER)
        results += results_of("reader", raw["reader"])
    if (home / "assets" / "champion_model").is_dir() and Home(home).corpus("nano-development").is_dir():
        raw["nano"] = measure(home, "nano", ())
        results += results_of("nano", raw["nano"])
    if not raw:
        raise DataError(f"neither {DATA} nor a nano champion under {home}: `visor run` makes the latter")
    return {"results": results, "raw": raw}
