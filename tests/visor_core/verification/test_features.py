"""What speaks for an answer, seen without gold: every feature against a case worked by hand."""

import dataclasses
import json
import math

import pytest

from tests.visor_core.evaluation.episodes import episode, turn
from visor_core.agent.trajectory import Action, EvidenceEntry, Observation
from visor_core.verification.features import NAMES, REFUSAL, as_row, canonical, describe, features_of


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("$1,200.50", "1200.5", True),
        ("47", "47.0", True),
        ("47", "47%", False),
        ("The Cat.", "cat", True),
        ("['b', 'a']", '["a", "b"]', True),
        ("[b, a]", "['a', 'b']", True),
        ("['1', '2']", "['1', '3']", False),
        ("Not answerable", "missing", True),
        ("Missing persons unit", "missing", False),
        ("東京", "東京", True),
        ("東京", "大阪", False),
        ("−", "…", False),
    ],
)
def test_equal_answers_have_one_form(first, second, same):
    assert (canonical(first) == canonical(second)) is same


def test_no_answer_has_no_form_and_a_refusal_one_of_its_own():
    assert canonical("  ") == ""
    assert canonical("unanswerable.") == REFUSAL


def test_features_by_hand():
    of = dataclasses.replace(episode("47"), config=json.dumps({"max_turns": 10}))
    found = describe(of).features
    assert found.coverage == 1.0
    assert math.isnan(found.agreement)
    assert found.cited_coverage == 0.0, "the reply cites no entry"
    assert found.confidence == pytest.approx(math.exp(-0.2))
    assert found.finished == 1.0
    assert found.well_formed == 1.0
    assert found.refused == 0.0
    assert found.brevity == pytest.approx(0.7)
    assert math.isnan(found.kept), "no verdict was given"
    assert found.unrejected == 1.0


def test_coverage_is_of_the_answers_own_words():
    assert describe(episode("47 boats")).features.coverage == pytest.approx(0.5)
    assert describe(episode("48")).features.coverage == 0.0
    assert math.isnan(describe(episode("missing")).features.coverage), "a refusal has nothing to be recorded"


def test_cited_entries_and_verdicts_count():
    page = Observation("page")
    base = episode("47")
    other = EvidenceEntry(2, "aaaa/00002", "acme.pdf", 2, "acme staff q4 50")
    rejected = EvidenceEntry(3, "aaaa/00002", "acme.pdf", 2, "blurred", kind="rejected")
    turns = (
        turn(0, Action("search", "acme", verdict=None), page),
        turn(1, Action("crop", verdict="keep"), page),
        turn(2, Action("search", "acme", verdict="reject"), page),
        turn(3, Action("answer", "47", verdict="keep", citations=(2,)), Observation("final")),
    )
    found = describe(dataclasses.replace(base, turns=turns, evidence=(*base.evidence, other, rejected))).features
    assert found.cited_coverage == 0.0
    assert found.coverage == 1.0
    assert found.kept == pytest.approx(2 / 3)
    assert found.unrejected == pytest.approx(2 / 3)


def test_agreement_is_among_the_episodes_of_one_question():
    found = features_of([episode("47"), episode("47.0"), episode("48")])
    assert [round(of.agreement, 3) for of in found] == [0.667, 0.667, 0.333]
    assert math.isnan(features_of([episode("47")])[0].agreement)
    other = dataclasses.replace(episode("47").question, question_id="q2")
    with pytest.raises(ValueError, match="one question"):
        features_of([episode("47"), episode("47", question=other)])


def test_a_row_has_a_value_for_every_name():
    assert len(as_row(describe(episode("47")).features)) == len(NAMES)
