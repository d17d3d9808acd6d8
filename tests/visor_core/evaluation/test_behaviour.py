"""Behaviour and misses of several episodes together: shares and means over what is known, in result and file."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.visor_core.evaluation.episodes import OTHER, PAGE, QUESTION, episode
from visor_core.code_version import code_behind
from visor_core.evaluation.behaviour import MEASURES, beside_the_answers, diagnoses_by, measured, table_rows
from visor_core.evaluation.comparison import Arm, compare
from visor_core.evaluation.report import Report, report_html
from visor_core.evaluation.results import BenchmarkResult, EpisodeResult, read_result, score_episode
from visor_core.questions import GOLD_DROPPED
from visor_core.scoring.behaviour import Behaviour
from visor_core.trajectories.playing import APART, EPISODE_CODE

TWO_PAGES = replace(QUESTION, question_id="q2", gold_pages=(PAGE, OTHER), gold_facts=(), hops=2)
UNKNOWN = replace(TWO_PAGES, question_id="q3", metadata={GOLD_DROPPED: "page 0"})
NOWHERE = replace(
    QUESTION, question_id="q4", answers=("not answerable",), answerable=False, gold_pages=(), gold_facts=()
)


def _rows() -> tuple[EpisodeResult, ...]:
    return (
        score_episode(episode("47")),  # right, its page shown, read and cited
        score_episode(episode("47", question=TWO_PAGES)),  # right, one of two pages
        score_episode(episode("12", question=UNKNOWN)),  # wrong, gold not whole
        score_episode(episode("not answerable", question=NOWHERE)),  # rightly refused
        replace(score_episode(episode("not answerable")), question_id="q5", trajectory_id="t5"),  # wrongly refused
    )


def _result() -> BenchmarkResult:
    return BenchmarkResult("nano", "development", "p", "c", "visor", "tag", 0, 0.0, "v", 8.0, _rows())


def test_shares_and_means_are_over_what_is_known() -> None:
    found = measured(_rows())
    # q1 and q5 have one gold page, shown; q2 has two, one shown; of q3 and q4 the gold is not known, or there is none
    assert found["gold_complete"].estimate == pytest.approx(2 / 3)
    assert found["ledger_coverage"].estimate == pytest.approx((1 + 0.5 + 1) / 3)
    assert found["gold_complete"].count == found["ledger_coverage"].count == 3
    # of the two right and answerable ones the chain of one is whole
    assert (found["chain_complete"].estimate, found["chain_complete"].count) == (0.5, 2)
    assert found["chain_complete"].low < 0.5 < found["chain_complete"].high
    # refused two, one of which has no answer; 2 of 5 refused and 1 of 5 without one
    assert (found["refusal_precision"].estimate, found["refusal_precision"].count) == (0.5, 2)
    assert found["refusal_excess"].estimate == pytest.approx(0.2)
    assert (found["refusals"].estimate, found["refusals"].count) == (1.0, 1)
    assert (found["false_refusals"].estimate, found["false_refusals"].count) == (0.25, 4)
    assert found["tokens"].estimate == 189.0


def test_pages_are_counted_where_gold_pages_are_known_only() -> None:
    """A question without an answer needs no page: it finds neither all of them nor one of none."""
    result = _result()
    for row in result.episodes[2:4]:
        figures = (row.evidence, row.page_recall, row.page_precision, row.citation_recall)
        assert figures == (None, None, None, None), row.question_id
    metrics = result.metrics()
    assert (
        metrics["page_recall"] == metrics["evidence"] == metrics["citation_recall"] == pytest.approx((1 + 0.5 + 1) / 3)
    )
    assert metrics["page_precision"] == 1.0
    assert result.mean(lambda row: row.page_recall).count == 3
    pages = {name: (of["right"].estimate, of["right"].count) for name, of in result.by_pages().items()}
    assert pages == {"1 page": (0.5, 2), "2 pages": (0.5, 2), "without an answer": (1.0, 1)}
    assert metrics["right_without_an_answer"] == 1.0
    compared = compare([Arm("a", (result,)), Arm("b", (result,))])
    recall = next(found for found in compared.figures if found.figure.name == "page recall")
    assert [interval.count for interval in recall.intervals] == [3, 3]
    assert recall.pairings[0].test.count == 3
    seconds = next(found for found in compared.figures if found.figure.name == "seconds")
    assert (seconds.intervals[0].count, seconds.pairings[0].test.count) == (5, 0), "time is the machine's too"


def test_one_table_says_what_another_says() -> None:
    """What `visor eval` prints and what `visor compare` prints of the same episodes."""
    often = replace(_rows()[0], behaviour=_with_crops(_rows()[0], judged=4, rejected=2))
    once = replace(_rows()[1], behaviour=_with_crops(_rows()[1], judged=1, rejected=0))
    result = replace(_result(), episodes=(often, once, *_rows()[2:]))
    assert result.behaviour["crops_rejected"].estimate == pytest.approx((0.5 + 0 + 0 + 0 + 0) / 5)
    figures = compare([Arm("a", (result,)), Arm("b", (result,))]).figures
    shown = {found.figure.key: found.intervals[0] for found in figures}
    measured_too = result.behaviour.keys() & shown.keys()
    assert {"crops_rejected", "refusals", "false_refusals", "refusal_precision"} <= measured_too
    for name in measured_too:
        assert shown[name].estimate == pytest.approx(result.behaviour[name].estimate), name
        assert shown[name].count == result.behaviour[name].count, name


def _with_crops(row: EpisodeResult, *, judged: int, rejected: int) -> Behaviour:
    assert row.behaviour is not None
    return replace(row.behaviour, crops_judged=judged, crops_rejected=rejected)


def test_an_episode_took_what_its_turns_took() -> None:
    """Not what it waited beside others for a place."""
    played = episode("47")
    turns = tuple(
        replace(t, completion=replace(t.completion, seconds=0.5), observation=replace(t.observation, seconds=0.25))
        for t in played.turns
    )
    assert score_episode(replace(played, turns=turns, seconds=25.0)).seconds == 0.75 * len(turns)


def test_what_no_episode_knows_is_absent() -> None:
    found = measured([score_episode(episode("not answerable", question=NOWHERE))])
    assert not {"gold_complete", "box_f1", "chain_complete", "citation_precision", "money", "readings_saved"} & set(
        found
    )
    dashes = {words: figure for _, words, figure in table_rows([score_episode(episode("12", question=UNKNOWN))])}
    assert dashes["all gold pages shown"] is None
    assert len(dashes) == len(MEASURES)


def test_misses_are_counted_in_all_and_by_kind() -> None:
    result = _result()
    counts = result.diagnoses()
    scored_misses = sum(not row.right for row in result.scored)
    assert sum(counts.values()) == scored_misses == 2
    assert list(counts) == ["not found", "not seen", "not read", "not reasoned", "not answered in form"]
    by_hops = diagnoses_by(result.finished, lambda row: f"{row.hops} pages")
    assert {name: scored for name, (scored, _) in by_hops.items()} == {"1 pages": 3, "2 pages": 2}
    assert sum(sum(misses.values()) for _, misses in by_hops.values()) == 2
    assert result.metrics()["missed_not_reasoned"] == counts["not reasoned"]


def test_a_result_keeps_and_reads_them(tmp_path: Path) -> None:
    result = _result()
    path = tmp_path / "result.json"
    result.save(path)
    assert read_result(path) == result
    stored = json.loads(path.read_text(encoding="utf-8"))
    low, high, count = stored["intervals"]["gold_complete"]
    assert (low < 2 / 3 < high, count) == (True, 3)
    assert stored["diagnoses"] == result.diagnoses()


def test_a_result_from_before_they_were_measured_has_none(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    _result().save(path)
    stored = json.loads(path.read_text(encoding="utf-8"))
    del stored["intervals"], stored["diagnoses"]
    for row in stored["episodes"]:
        del row["behaviour"], row["diagnosis"], row["diagnosed_turn"]
    path.write_text(json.dumps(stored), encoding="utf-8")
    old = read_result(path)
    assert old.diagnoses() == {}
    assert {row.behaviour for row in old.episodes} == {None}
    assert "gold_complete" not in old.behaviour


def test_the_report_shows_them_in_all_and_by_kind() -> None:
    hostile = '<script>alert("x")</script>'
    rows = (replace(_rows()[0], kind=f"Chart {hostile}"), *_rows()[1:])
    text = report_html(Report(title="Run", results={hostile: replace(_result(), episodes=rows)}))
    assert "all gold pages shown" in text
    assert hostile not in text
    found = re.findall(
        r'"questions">(all|1 page|2 pages|without an answer)</td><td class=n data-label="scored">(\d+)</td>', text
    )
    assert '<td data-label="questions">Chart &lt;script&gt;' in text
    assert found == [("all", "5"), ("1 page", "2"), ("2 pages", "2"), ("without an answer", "1")]
    counts = [int(n) for n in re.findall(r"<td class=n[^>]*>(\d+)</td>", text.split("What went wrong")[1])[1:6]]
    assert counts == list(_result().diagnoses().values())


def test_a_short_table_has_dashes_for_what_is_not_known() -> None:
    shown = beside_the_answers([score_episode(episode("12", question=UNKNOWN))])
    assert shown["all gold pages shown"] == "–"
    assert str(shown["misses"]).endswith(" 1")


def test_what_measures_an_episode_does_not_decide_it() -> None:
    """Kept episodes are scored anew and not played anew when a measure changes."""
    behind = code_behind(*EPISODE_CODE, within=("visor_core",), without=APART)
    assert not {name for name in behind if name.startswith(("visor_core.scoring", "visor_core.evaluation"))}
