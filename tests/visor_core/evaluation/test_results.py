"""Figures of single episodes and of a benchmark of four, worked by hand."""

import dataclasses
from pathlib import Path

import pytest

from tests.visor_core.evaluation.episodes import OTHER, PAGE, QUESTION, episode
from visor_core.errors import DataError
from visor_core.evaluation.results import BenchmarkResult, read_result, score_episode

TWO_PAGES = dataclasses.replace(QUESTION, question_id="q2", gold_pages=(PAGE, OTHER), gold_facts=(), hops=2)


def _benchmark() -> BenchmarkResult:
    rows = (
        score_episode(episode("47")),  # right and supported
        score_episode(episode("47", observation="")),  # right without evidence: a shortcut
        score_episode(episode("12")),  # wrong, although read right
        score_episode(episode("47", question=TWO_PAGES)),  # right, one of two pages seen: a shortcut
    )
    return BenchmarkResult("nano", "development", "p", "c", "visor", "tag", 0, 0.0, "v", 8.0, rows)


def test_one_episode() -> None:
    row = score_episode(episode("47"))
    assert (row.right, row.supported, row.shortcut) == (True, True, False)
    assert (row.turns, row.searches, row.crops, row.pages_seen) == (3, 1, 1, 1)
    assert (row.prompt_tokens, row.image_tokens, row.completion_tokens) == (180, 48, 9)
    assert (row.page_recall, row.evidence, row.citation_recall) == (1.0, 1.0, 1.0)


def test_evidence_without_facts_is_gold_pages_in_the_ledger() -> None:
    row = score_episode(episode("47", question=TWO_PAGES))
    assert (row.right, row.supported, row.evidence, row.page_recall) == (True, False, 0.5, 0.5)


def test_benchmark_figures() -> None:
    result = _benchmark()
    assert result.accuracy.estimate == 0.75
    assert result.supported_success.estimate == 0.25
    assert result.shortcut_rate.estimate == 0.5
    assert result.by_hops()[1]["accuracy"].estimate == pytest.approx(2 / 3)
    assert result.by_hops()[2]["supported"].estimate == 0.0
    assert result.outcomes() == {"answered": 4}
    metrics = result.metrics()
    assert metrics["prompt_tokens_per_turn"] == 60.0
    assert metrics["image_tokens_per_turn"] == 16.0
    assert metrics["seconds_per_episode"] == 2.0
    assert metrics["accuracy_hops_2"] == 1.0
    assert result.frame().height == 4


def test_saved_result_reads_back(tmp_path: Path) -> None:
    result = _benchmark()
    result.save(tmp_path / "deep" / "result.json")
    assert read_result(tmp_path / "deep" / "result.json") == result


def test_missing_and_foreign_results(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="visor eval"):
        read_result(tmp_path / "none.json")
    (tmp_path / "other.json").write_text('{"episodes": [{"x": 1}]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"other\.json"):
        read_result(tmp_path / "other.json")
