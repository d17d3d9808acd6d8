"""Figures of single episodes and of a benchmark of four, worked by hand."""

import dataclasses
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.visor_core.agent.small_index import SmallIndex, pages_of
from tests.visor_core.evaluation.episodes import OTHER, PAGE, QUESTION, episode
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.strategies import STRATEGIES, preset
from visor_core.config import AgentConfig
from visor_core.errors import DataError
from visor_core.evaluation.benchmarks.resolve import LeftOut
from visor_core.evaluation.results import BenchmarkResult, read_result, score_episode
from visor_core.policies.base import Prompt
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question

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


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_strategy_is_without_evidence_by_its_make(strategy: str) -> None:
    """Right with the gold page read: supported, also where no ledger is kept; without a word on it, a shortcut."""
    index = SmallIndex(pages_of("acme staff 47", "acme revenue", "borel staff"))
    question = Question("q", "acme staff", ("47",), benchmark="mmlongbench", gold_pages=("report/00001",))
    looks = {"vanilla": [], "unidoc": ["<search>acme staff</search>", "<select>1</select>"]}
    actions = [*looks.get(strategy, ["<search>acme staff</search>"]), "<answer>47</answer>"]
    for thought, supported in (("<think>the staff is 47</think>", True), ("", False)):
        if strategy == "visor" and not supported:
            continue  # its ledger notes a page that was shown even without a word on it
        replies = [*(f"<think>a</think>{action}" for action in actions[:-1]), thought + actions[-1]]
        policy = ScriptedPolicy(partial(_next, iter(replies)))
        (played,) = run_reference(Environment(index, preset(strategy, AgentConfig())), policy, [question])
        row = score_episode(played)
        assert (row.right, row.supported, row.shortcut) == (True, supported, not supported)
        assert row.page_precision == (0.0 if not supported else 1 / 3 if strategy == "vanilla" else 1.0)


def _next(replies: Iterator[str], prompt: Prompt) -> str:
    return next(replies)


def test_benchmark_figures() -> None:
    result = _benchmark()
    assert result.accuracy.estimate == 0.75
    assert result.supported_success.estimate == 0.25
    assert result.shortcut_rate.estimate == 0.5
    assert result.by_pages()["1 page"]["right"].estimate == pytest.approx(2 / 3)
    assert result.by_pages()["2 pages"]["supported"].estimate == 0.0
    assert result.outcomes() == {"answered": 4}
    metrics = result.metrics()
    assert metrics["prompt_tokens_per_turn"] == 60.0
    assert metrics["image_tokens_per_turn"] == 16.0
    assert metrics["seconds_per_episode"] == 2.0
    assert metrics["right_2_pages"] == 1.0
    assert result.frame().height == 4


def test_saved_result_reads_back(tmp_path: Path) -> None:
    result = _benchmark()
    result.save(tmp_path / "deep" / "result.json")
    assert read_result(tmp_path / "deep" / "result.json") == result


def _of(benchmark: str, *episodes: tuple[str, str, str]) -> BenchmarkResult:
    """Episodes of a benchmark from (gold, answer, format), all evidence read."""
    rows = []
    for number, (gold, answer, form) in enumerate(episodes):
        asked = dataclasses.replace(
            QUESTION,
            question_id=f"q{number}",
            question="how many people came?",
            answers=(gold,),
            benchmark=benchmark,
            answer_format=form,
            gold_facts=(),
            answerable=gold != "Not answerable",
        )
        rows.append(score_episode(episode(answer, question=asked)))
    return BenchmarkResult(benchmark, "", "p", "c", "visor", "tag", 0, 0.0, "v", 8.0, tuple(rows))


def test_mmlongbench_reports_its_mean_score_and_f1() -> None:
    result = _of(
        "mmlongbench",
        ("abcde", "abcxy", "Str"),  # 0.6
        ("47", "47%", "Int"),  # 0
        ("47", "Not answerable", "Int"),  # 0, a refusal
        ("Not answerable", "Not answerable", "None"),  # 1
        ("Not answerable", "Missing persons unit", "None"),  # 0
    )
    assert [row.score for row in result.episodes] == pytest.approx([0.6, 0.0, 0.0, 1.0, 0.0])
    assert result.answers_right.estimate == pytest.approx(1 / 5)
    assert result.accuracy.estimate == result.metrics()["accuracy"] == pytest.approx(1.6 / 5)
    # recall 0.6 of 3 answerable ones, precision 0.6 of 3 answers that are no refusal
    assert result.published() == pytest.approx({"accuracy": 1.6 / 5, "F1": 0.2})
    assert result.metrics()["mmlongbench_accuracy"] == pytest.approx(1.6 / 5)
    assert result.metrics()["refusals"] == 0.5
    assert result.metrics()["false_refusals"] == pytest.approx(1 / 3)
    assert result.rule == "MMLongBench-Doc"


def test_slidevqa_reports_its_exact_match_and_f1() -> None:
    result = _of("slidevqa", ("ten people", "10", "Str"), ("net sales rose", "sales rose sharply", "Str"))
    assert result.published() == pytest.approx({"EM": 0.5, "F1": (1 + 2 / 3) / 2})
    assert result.metrics()["slidevqa_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert result.rule_in_words() == "answers scored by the rule SlideVQA: EM 0.500, F1 0.833"


def test_vidoseek_has_no_score_under_another_rule(tmp_path: Path) -> None:
    result = _of("vidoseek", ("Kent", "Kent", "Str"), ("Kent", "Kant", "Str"))
    assert [row.score for row in result.episodes] == [None, None]
    assert math.isnan(result.accuracy.estimate)
    assert math.isnan(result.supported_success.estimate)
    assert result.rule_in_words() == "no published rule for answers of vidoseek"
    assert not {"accuracy", "score", "supported", "shortcut_rate"} & set(result.metrics())
    assert result.metrics()["page_recall"] == 1.0
    result.save(tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["rule"] == "no published rule"
    assert read_result(tmp_path / "result.json") == result


def test_what_was_left_out_is_saved_with_its_reasons(tmp_path: Path) -> None:
    left_out = (
        LeftOut("a", "no such page", "page 9 of 3"),
        LeftOut("b", "not there", "x"),
        LeftOut("c", "not there", "y"),
    )
    result = dataclasses.replace(_benchmark(), left_out=left_out)
    result.save(tmp_path / "result.json")
    data = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert data["left_out_by_reason"] == {"not there": 2, "no such page": 1}
    assert data["left_out"][0] == {"item": "a", "reason": "no such page", "detail": "page 9 of 3"}
    assert data["metrics"]["left_out"] == 3.0
    assert read_result(tmp_path / "result.json") == result


def test_missing_and_foreign_results(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="visor eval"):
        read_result(tmp_path / "none.json")
    (tmp_path / "other.json").write_text('{"episodes": [{"x": 1}]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"other\.json"):
        read_result(tmp_path / "other.json")
