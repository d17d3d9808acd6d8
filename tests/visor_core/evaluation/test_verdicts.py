"""Protocols beside the rule: one face for their scores, kappa by hand and by scikit-learn, figures that are stored."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.metrics import cohen_kappa_score

from tests.visor_core.evaluation.episodes import QUESTION, episode
from visor_core.errors import DataError
from visor_core.evaluation.results import BenchmarkResult, read_result, score_episode
from visor_core.evaluation.statistics import cohens_kappa
from visor_core.evaluation.verdicts import (
    RULE,
    ProtocolScores,
    Verdict,
    agreement,
    answers_digest,
    common_protocol,
    protocols_in_words,
    scores,
)

HALF = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15


def judged(name: str = "judge", model: str = "m", **verdicts: float | None) -> ProtocolScores:
    """A protocol's verdicts by question id."""
    found = tuple(Verdict(q, score, "", "" if score is not None else "no reply") for q, score in verdicts.items())
    return ProtocolScores(name, model, "http://127.0.0.1:1/v1", "", "0" * 16, "", found)


def result(*protocols: ProtocolScores) -> BenchmarkResult:
    """Two right answers by the rule (a, b), a wrong one (c), an episode that failed (d)."""
    rows = [
        replace(score_episode(episode(answer, question=replace(QUESTION, question_id=name))), question_id=name)
        for name, answer in (("a", "47"), ("b", "47"), ("c", "31"), ("d", ""))
    ]
    rows[3] = replace(rows[3], outcome="error")
    return BenchmarkResult(
        "nano", "", "p", "c", "visor", "tag", 0, 0.0, "v", 8.0, tuple(rows), protocols=tuple(protocols)
    )


def test_kappa_by_hand() -> None:
    """35 of 50 agree; chance agreement is (25 · 30 + 25 · 20) / 50² = 0.5: kappa = (0.7 − 0.5) / 0.5."""
    found = cohens_kappa(HALF)
    assert found.estimate == pytest.approx(0.4)
    # Fleiss, Cohen & Everitt's error, worked by hand: sqrt(0.2016 / (50 · 0.25)) = 0.12699
    assert (found.low, found.high) == pytest.approx((0.4 - 1.959964 * 0.126996, 0.4 + 1.959964 * 0.126996), abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn(seed: int) -> None:
    drawn = random.Random(seed)
    pairs = [(drawn.random() < 0.3, drawn.random() < 0.5) for _ in range(60)]
    assert cohens_kappa(pairs).estimate == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))


def test_kappa_of_one_word_throughout_is_unknown() -> None:
    assert str(cohens_kappa([(True, True)] * 5).estimate) == "nan"
    assert str(cohens_kappa([]).estimate) == "nan"
    assert cohens_kappa([(True, True), (False, False)] * 40).estimate == 1.0


def test_one_judge_of_all_results_is_found_or_none_is_taken() -> None:
    """Verdicts of two judges side by side are no comparison."""
    old, new, other = (judged(model=name, a=1.0) for name in ("old", "new", "other"))
    first, second = ("first", result(old, new)), ("second", result(new, old, other))
    assert common_protocol([first, second], "judge") == new.label
    assert common_protocol([second, first], "judge") == old.label
    assert common_protocol([first, second], "judge (old)") == old.label
    assert common_protocol([first, second], old.label) == old.label
    assert common_protocol([first, ("third", result())], RULE) == RULE
    with pytest.raises(DataError, match=r"no one judge .*\(first by judge \(old, .*; third by judge \(other, "):
        common_protocol([first, ("third", result(other))], "judge")
    with pytest.raises(DataError, match=r"no scores by the protocol 'judge \(other\)' \(it has rule, judge \(old"):
        common_protocol([first, second], "judge (other)")
    named = replace(old, revision="r1")
    assert {"judge", "judge (old)", "judge (old@r1)", "judge (old@r1, prompt 00000000)"} == set(named.names)


def test_scores_have_one_face() -> None:
    both = result(judged(a=1.0, b=0.0, c=None), judged(model="other", a=1.0, b=1.0, c=0.0))
    assert scores(both, "rule") == {"a": 1.0, "b": 1.0, "c": 0.0}
    assert scores(both, "judge") == {"a": 1.0, "b": 1.0, "c": 0.0}
    assert scores(both, both.protocols[0].label) == {"a": 1.0, "b": 0.0, "c": None}
    with pytest.raises(DataError, match=r"no scores by the protocol 'official' \(it has rule, judge"):
        scores(both, "official")


def test_a_verdict_that_failed_is_counted_apart() -> None:
    found = result(judged(a=1.0, b=0.0, c=None))
    (protocol,) = found.protocols
    assert (protocol.failed, protocol.right.estimate, protocol.right.count) == (1, 0.5, 2)
    assert agreement(found, protocol).count == 2
    figures = found.metrics()
    assert (figures["judge_accuracy"], figures["judge_failed_verdicts"], figures["judge_verdicts"]) == (0.5, 1.0, 2.0)
    assert "1 of 3 verdicts failed and are counted apart" in protocols_in_words(found)[1]


def test_official_figures_are_the_mean_score_and_f1() -> None:
    """Recall 1.5 / 3, precision 1.5 / 2: F1 is 0.6."""
    told = (Verdict("a", 1.0, answer="47"), Verdict("b", 0.5, answer="4"), Verdict("c", 0.0, answer="Not answerable"))
    found = result(replace(judged("official"), verdicts=told))
    assert found.metrics()["official_accuracy"] == 0.5
    assert found.metrics()["official_f1"] == pytest.approx(0.6)


def test_protocols_are_stored_with_the_result(tmp_path: Path) -> None:
    stored = result(judged(a=1.0, b=0.0, c=None))
    stored.save(tmp_path / "r.json")
    assert read_result(tmp_path / "r.json") == stored


def test_what_was_judged_is_told_apart_by_its_answers() -> None:
    rows = result().episodes
    assert answers_digest(rows) == answers_digest(rows[::-1])
    assert answers_digest(rows) != answers_digest([replace(rows[0], answer="48"), *rows[1:]])
