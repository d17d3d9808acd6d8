"""A rebuilt lineage is identical, agrees by intervals where it may differ, or differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.visor_core.lineage.written import folder_of, write_build, write_chain
from visor_core.config import Home
from visor_core.evaluation.results import BenchmarkResult, EpisodeResult
from visor_core.lineage import Lineage, ancestry, read_builds
from visor_core.lineage.comparison import compare_rebuilt, rows_version

ROW = EpisodeResult(
    question_id="q", trajectory_id="t", partition="", hops=1, answerable=True, outcome="answered", answer="a",
    rule="exact", score=1.0, f1=None, supported=True, evidence=1.0, page_recall=1.0, page_precision=1.0,
    citation_recall=1.0, well_formed=True, turns=2, searches=1, crops=0, pages_seen=1, prompt_tokens=1,
    image_tokens=1, completion_tokens=1, seconds=1.0, cost=0.0,
)  # fmt: skip


def _result(right: int, of: int) -> BenchmarkResult:
    rows = tuple(
        replace(ROW, question_id=f"q{number}", score=float(number < right), supported=number < right)
        for number in range(of)
    )
    return BenchmarkResult("nano", "development", "p", "", "visor", "tag", 0, 0.0, "v", 1.0, rows)


def _measured(home: Home, right: int, weights: str) -> Lineage:
    """A checkpoint and its benchmark, with a result of twenty questions."""
    checkpoint = write_chain(home, f"data-{weights}", weights=weights)["checkpoint"]
    benchmark = write_build(home, "benchmark_results", "b1", f"right-{right}", (checkpoint,))
    _result(right, 20).save(folder_of(home, benchmark) / "sft.json")
    return ancestry(home, benchmark)


@pytest.mark.parametrize(
    ("right", "weights", "exact", "verdict", "first"),
    [
        (15, "w1", True, "identical", ""),
        (15, "w2", True, "differs", "sft_checkpoint"),
        (14, "w2", False, "agrees", "sft_checkpoint"),
        (3, "w2", False, "differs", "sft_checkpoint"),
    ],
)
def test_the_verdict(tmp_path: Path, right: int, weights: str, exact: bool, verdict: str, first: str) -> None:
    homes = Home(tmp_path / "old"), Home(tmp_path / "new")
    recorded, rebuilt = _measured(homes[0], 15, "w1"), _measured(homes[1], right, weights)
    found = compare_rebuilt(recorded, rebuilt.by_node(), homes, exact=exact)
    assert (found.verdict, found.first_difference) == (verdict, first)


def test_other_weights_under_the_same_data_version_are_no_identity(tmp_path: Path) -> None:
    homes = Home(tmp_path / "old"), Home(tmp_path / "new")
    recorded = ancestry(homes[0], write_chain(homes[0])["checkpoint"])
    write_chain(homes[1], weights="8" * 64)
    found = compare_rebuilt(recorded, {b.node: b for b in read_builds(homes[1]).values()}, homes, exact=True)
    assert found.verdict == "differs"
    assert "weights 9999999999999999 → 8888888888888888" in found.stages[-1].text


def test_a_stage_that_was_not_rebuilt_differs(tmp_path: Path) -> None:
    home = Home(tmp_path / "old")
    recorded = ancestry(home, write_chain(home)["checkpoint"])
    found = compare_rebuilt(recorded, {}, (home, Home(tmp_path / "new")), exact=False)
    assert found.verdict == "differs"
    assert found.stages[0].text == "documents[mine]: not rebuilt"


def test_what_an_evaluation_found_has_a_version_without_times_and_ids() -> None:
    rows = _result(3, 5).episodes
    assert rows_version(rows) == rows_version([replace(row, seconds=9.0, trajectory_id="x") for row in reversed(rows)])
    assert rows_version(rows) != rows_version([replace(rows[0], answer="b"), *rows[1:]])
