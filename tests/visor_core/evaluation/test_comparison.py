"""Evaluations held against each other: over what they share, with what differs, refused where they share nothing."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.visor_core.evaluation.results_by_hand import HOSTILE, played, result
from tests.visor_core.trajectories.test_viewer import elements
from visor_core.errors import DataError
from visor_core.evaluation.comparison import Arm, Comparison, against_the_warm_start, compare
from visor_core.evaluation.comparison_page import comparison_html
from visor_core.evaluation.comparison_text import comparison_json, comparison_markdown, comparison_metrics
from visor_core.evaluation.explorer import SCRIPT
from visor_core.evaluation.published_figures import FILE, published_of, read_published
from visor_core.evaluation.question_rows import Places
from visor_core.evaluation.results import BenchmarkResult
from visor_core.evaluation.verdicts import ProtocolScores, Verdict

ANSWERS = {"q1": "47", "q2": "12", "q3": "47", "q4": "9"}


def _arm(label: str, *results: BenchmarkResult) -> Arm:
    return Arm(label, results)


def _two(**of: str) -> Comparison:
    first = result(ANSWERS)
    second = result({"q2": "47", "q1": "47", "q3": "8", "q4": "10"}, policy="other", **of)
    return compare([_arm("A", first), _arm("B", second)])


def test_figures_verdicts_and_tests_are_over_the_same_questions() -> None:
    found = _two()
    assert found.verdicts() == {"both right": 1, "lost": 1, "none right": 1, "won": 1}
    assert [item.key[1] for item in found.items if item.disagrees] == ["q2", "q3", "q4"]
    right = next(compared for compared in found.figures if compared.figure.name == "answers right")
    assert [interval.estimate for interval in right.intervals] == [0.5, 0.5]
    (pairing,) = right.pairings
    assert (pairing.wins, pairing.losses, pairing.test.count, pairing.mcnemar) == (1, 1, 4, 1.0)
    assert math.isnan(pairing.corrected)  # one test needs no correction


def test_only_figures_that_some_episode_has_are_columns() -> None:
    """Behaviour of results scored before it was measured is absent, and so is what the benchmark does not know."""
    names = [compared.figure.name for compared in _two().figures]
    assert {"answers right", "supported", "all gold pages shown", "gold pages cited"} <= set(names)
    assert {"mean score", "cost"}.isdisjoint(names)
    first, second = (
        replace(r, episodes=tuple(replace(row, behaviour=None) for row in r.episodes))
        for r in (result(ANSWERS), result(ANSWERS, policy="other"))
    )
    earlier = compare([_arm("A", first), _arm("B", second)])
    assert "all gold pages shown" not in [compared.figure.name for compared in earlier.figures]


def test_questions_that_one_lacks_failed_or_was_asked_otherwise_are_left_out_and_counted() -> None:
    first = result({**ANSWERS, "q5": "47"})
    second = result(ANSWERS, policy="other", texts={"q2": "another question"})
    failed = replace(second.episodes[2], outcome="error")
    second = replace(second, episodes=(*second.episodes[:2], failed, *second.episodes[3:]))
    found = compare([_arm("A", first), _arm("B", second)])
    assert [item.key[1] for item in found.items] == ["q1", "q4"]
    assert (found.asked, found.failed, found.reworded) == ((5, 4), 1, 1)
    text = comparison_markdown(found)
    assert "2 questions of nano development that all have (A 5, B 4 asked)" in text
    assert "1 left out because an episode failed; 1 left out because they were asked in other words" in text


def test_different_question_sets_are_refused_with_the_reason() -> None:
    first = result(ANSWERS)
    with pytest.raises(DataError, match="A is of nano, B of slidevqa: only evaluations of the same question set"):
        compare([_arm("A", first), _arm("B", result(ANSWERS, benchmark="slidevqa"))])
    with pytest.raises(DataError, match=r"no question in common \(question sets A: v, B: w\)"):
        compare([_arm("A", first), _arm("B", result({"q9": "1"}, questions_version="w"))])
    others = result(ANSWERS, texts={name: f"{name}?" for name in ANSWERS})
    with pytest.raises(DataError, match="4 question ids in common, but asked other questions under them"):
        compare([_arm("A", first), _arm("B", others)])
    with pytest.raises(DataError, match="two results"):
        compare([_arm("A", first)])


def test_what_differs_is_said_and_what_does_not_is_not() -> None:
    second = result(ANSWERS, policy="other", temperature=1.0, index_tag="tag-2")
    second.identity["environment"]["agent"]["window"] = 1
    found = compare([_arm("A", result(ANSWERS)), _arm("B", second)])
    assert {d.name: d.values for d in found.differences} == {
        "policy": ("p", "other"),
        "temperature": ("0", "1"),
        "index": ("tag-1", "tag-2"),
        "policy.weights": ("p", "other"),
        "agent.window": ("2", "1"),
    }


def test_seeds_are_clusters_and_have_to_be_the_same() -> None:
    """Gains of 1/4 and 3/4 by seed: t = .5 / .25 = 2 with one degree of freedom."""
    none, some, most = (
        dict.fromkeys(ANSWERS, "1"),
        {**dict.fromkeys(ANSWERS, "1"), "q1": "47"},
        dict.fromkeys(ANSWERS, "47"),
    )
    most["q4"] = "1"
    one = _arm("A", result(none), result(none, seed=1))
    other = _arm("B", result(some), result(most, seed=1))
    found = compare([one, other])
    right = found.figures[0]
    assert found.seeds == (0, 1)
    assert right.seeds == ((0.0, 0.0), (0.25, 0.75))
    assert right.pairings[0].test.clusters == 2
    assert right.pairings[0].p_value == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert "seed as cluster (seeds 0, 1; t test)" in comparison_markdown(found)
    with pytest.raises(DataError, match=r"A has the seeds \(0, 1\), B \(0,\)"):
        compare([one, _arm("B", result(some))])
    with pytest.raises(DataError, match="two evaluations of one seed"):
        compare([_arm("A", result(none), result(none)), other])


def test_more_than_two_are_corrected_against_the_first() -> None:
    arms = [_arm(name, result(ANSWERS, policy=name)) for name in ("A", "B")]
    better = _arm("C", result(dict.fromkeys(ANSWERS, "47"), policy="C"))
    found = compare([*arms, better])
    right = found.figures[0]
    assert [pairing.corrected for pairing in right.pairings] == [1.0, 1.0]  # Holm: .5 × 2, and 1
    assert right.pairings[1].mcnemar == 0.5
    assert found.verdicts() == {"all right": 2, "split": 2}
    assert "Holm: corrected for the number of results" in comparison_markdown(found)


def _judged(of: BenchmarkResult, *right: bool) -> BenchmarkResult:
    verdicts = tuple(
        Verdict(row.question_id, float(yes), "raw", supported=yes) for row, yes in zip(of.episodes, right, strict=True)
    )
    return replace(of, protocols=(ProtocolScores("judge", "m", "u", "r1", "0123456789", "d", verdicts),))


def test_answers_are_right_by_the_protocol_that_is_asked_for_and_its_name_stands_by() -> None:
    first, second = result(ANSWERS), result(ANSWERS, policy="other")
    found = compare([_arm("A", _judged(first, 1, 1, 1, 1)), _arm("B", _judged(second, 0, 0, 0, 1))], "judge")
    assert [i.estimate for i in found.figures[0].intervals] == [1.0, 0.25]
    assert "right by the protocol judge (m@r1, prompt 01234567)" in comparison_markdown(found)
    assert "answers right (judge (m@r1" in comparison_html(found, episodes={}, places=Places())
    with pytest.raises(DataError, match="no scores by the protocol 'judge'"):
        compare([_arm("A", first), _arm("B", second)], "judge")


def test_a_benchmark_is_compared_with_its_warm_start() -> None:
    runs = {"base": result(ANSWERS), "sft": result(ANSWERS), "grpo": result(ANSWERS)}
    found = against_the_warm_start(runs)
    assert found is not None
    assert found.labels == ("sft", "base", "grpo")
    assert against_the_warm_start({"grpo": runs["grpo"]}) is None


def test_json_and_metrics_hold_what_the_page_shows() -> None:
    told = json.loads(json.dumps(comparison_json(_two()), allow_nan=False))
    assert told["verdicts"] == {"both right": 1, "lost": 1, "none right": 1, "won": 1}
    assert told["figures"][0]["against_first"][0]["mcnemar"] == 1.0
    assert told["items"][1]["answers"] == ["12", "47"]
    metrics = comparison_metrics(_two())
    assert (metrics["0 A/answers_right"], metrics["1 B/answers_right_difference"]) == (0.5, 0.0)
    assert not any(math.isnan(value) for value in metrics.values())
    # What MLflow takes as the name of a metric.
    assert all(re.fullmatch(r"[\w\-./ ]+", name, re.ASCII) for name in metrics)


def test_hostile_text_stays_text_on_the_page_and_in_the_table() -> None:
    answers = {HOSTILE: HOSTILE, "q2": "47"}
    first, second = result(answers, gold=HOSTILE), result({**answers, "q2": "1"}, policy=HOSTILE, gold=HOSTILE)
    found = compare([_arm(HOSTILE, first), _arm(f"{HOSTILE}2", second)])
    kept = {t.trajectory_id: t for t in played(answers, gold=HOSTILE)}
    places = Places(lambda page: HOSTILE, lambda page: "file:///a.pdf#page=1")
    html = comparison_html(found, episodes=kept, places=places)
    seen = elements(html)
    assert seen.names.isdisjoint({"img", "iframe", "object", "form"})
    assert seen.scripts[-1] == SCRIPT.read_text(encoding="utf-8")
    data = json.loads(seen.scripts[0])
    assert (len(seen.scripts), data["rows"][0][0]) == (2, HOSTILE)
    assert "<script" not in comparison_markdown(found)
    with pytest.raises(ValueError, match="javascript:"):
        comparison_html(found, episodes=kept, places=Places(str, lambda page: "javascript:alert(1)"))


def test_published_figures_have_source_and_protocol_and_a_column_of_their_own(tmp_path: Path) -> None:
    assert {f.benchmark for f in read_published(FILE)} == {"slidevqa", "vidoseek", "mmlongbench"}
    (visor,) = (f for f in published_of("vidoseek") if f.system == "VISOR" and f.backbone.endswith("7B"))
    assert (visor.value, visor.questions) == (74.87, 1142)
    arms = [_arm(name, result(ANSWERS, benchmark="vidoseek", policy=name)) for name in ("A", "B")]
    scored = [replace(arm, results=tuple(_judged(r, 1, 0, 1, 0) for r in arm.results)) for arm in arms]
    html = comparison_html(compare(scored, "judge"), episodes={}, places=Places())
    assert "<th scope=col>ours, %<th scope=col>published<" in html
    assert '<td data-label="ours, %"></td><td data-label="published">74.87</td>' in html
    path = tmp_path / "published.yaml"
    path.write_text("protocols: {p: words}\nfigures: [{benchmark: b, system: s, figure: f, value: 1, protocol: p}]")
    with pytest.raises(DataError, match="published figures"):
        read_published(path)
