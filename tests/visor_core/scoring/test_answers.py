"""Answer rules: what the released scorers of MMLongBench-Doc and SlideVQA give for the same pairs; whose rule counts.

The expected values were obtained by running the released scripts. 60,000 drawn pairs of each benchmark agreed with them
but where they stop or run a list as code.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visor_core.questions import Question
from visor_core.scoring.answers import (
    NO_RULE,
    answer_score,
    exact_match,
    rule_of,
    says_missing,
    slidevqa_f1,
)
from visor_core.scoring.mmlongbench import anls, edit_distance, mmlongbench_f1, mmlongbench_score, parse_list
from visor_core.scoring.slidevqa import slidevqa_scores, units


@pytest.mark.parametrize(
    ("form", "gold", "given_", "expected"),
    [
        ("Int", "4", "4", 1.0),
        ("Int", "4", "4.9", 1.0),
        ("Int", "4", "5", 0.0),
        ("Int", "4", "four", 0.0),
        ("Int", "4", "nan", 0.0),
        ("Int", "47", "47%", 0.0),
        ("Int", "47", "$47", 0.0),
        ("Int", "47", " 47 ", 1.0),
        ("Int", "47", "4.7e1", 1.0),
        ("Int", "47", "1e999", 0.0),
        ("Int", "1000", "1,000", 0.0),
        ("Int", "47.0", "47", 0.0),
        ("Float", "12.5", "12.6", 1.0),
        ("Float", "12.5", "12.7", 0.0),
        ("Float", "12.5%", "0.125", 1.0),
        ("Float", "0.125", "12.5", 1.0),
        ("Float", "$3.20", "3.2", 1.0),
        ("Float", "3.2", "about three", 0.0),
        ("Float", "5", "(approx.) 5", 1.0),
        ("Float", "1e-7", "0", 1.0),
        ("Float", "2.004", "2.0", 1.0),
        ("Str", "Annual report", "annual report", 1.0),
        ("Str", "abcd", "abxy", 0.0),
        ("Str", "abcde", "abcxy", 0.6),
        ("Str", "https://a.org/x", "https://a.org/y", 0.0),
        ("Str", "2019-03-04", "2019-03-05", 0.0),
        ("Str", "9:30 a.m.", "9:31 a.m.", 0.0),
        ("Str", "Paris (France)", "'paris'", 1.0),
        ("Str", "page 3", "page 4", 0.0),
        ("Str", "Straße", "strasse", 0.714286),
        ("Str", "ßßßß", "ßßßx", 0.875),
        ("Str", "55%", "55", 1.0),
        ("Str", "", "x", 0.0),
        ("Str", "a b", "a  b", 0.75),
        ("None", "Not answerable", "Not answerable", 1.0),
        ("None", "Not answerable", "Not answerable.", 0.933333),
        ("None", "Not answerable", "unanswerable", 0.714286),
        ("None", "Not answerable", "Missing persons unit", 0.0),
        ("None", "Not answerable", "The document is insufficient to tell.", 0.0),
        ("List", "['a', 'b']", "['b', 'a']", 1.0),
        ("List", "['a', 'b']", "['a']", 0.0),
        ("List", "[1, 2]", "[2, 1]", 1.0),
        ("List", "['10', '20']", "['10', '21']", 0.0),
        ("List", "['a']", "a", 1.0),
        ("List", "['a']", " ['a']", 0.0),
        ("List", "['alpha', 'beta']", "['alpha', 'betx']", 0.75),
        ("List", "[1, 2]", "(1, 2)", 0.0),
        ("List", "['x']", "[('x',)]", 0.0),
        ("List", "['$5', '6%']", "['5', '6']", 1.0),
        ("", "alpha", "alphx", 0.8),
    ],
)
def test_mmlongbench_as_released(form: str, gold: str, given_: str, expected: float) -> None:
    question = Question("q", "?", (gold,), "mmlongbench", answer_format=form, answerable=gold != "Not answerable")
    assert mmlongbench_score(gold, given_, form) == pytest.approx(expected, abs=1e-6)
    assert answer_score(question, given_) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "gold", "given_", "em", "f1"),
    [
        ("How many people came?", "ten people", "10", 0.0, 0.666667),
        ("how many people came?", "ten people", "10", 1.0, 1.0),
        ("how many people came?", "10", "ten people came", 0.0, 0.666667),
        ("in which year was it?", "year 1999", "1999", 1.0, 1.0),
        ("Which year?", "year 1999", "1999", 0.0, 0.666667),
        ("q", "55 percent", "55%", 1.0, 1.0),
        ("q", "It is Paris", "paris", 1.0, 1.0),
        ("q", "a & b", "a, b", 1.0, 1.0),
        ("q", "Rock and roll", "rock & roll", 1.0, 1.0),
        ("q", "yes", "Yes, it grew", 1.0, 1.0),
        ("q", "No", "no it did not", 1.0, 1.0),
        ("q", "North America", "north asia", 1.0, 1.0),
        ("q", "because of cost", "due to cost", 1.0, 1.0),
        ("q", "3 hours", "3 hrs", 1.0, 1.0),
        ("q", "brand new", "br,new", 0.0, 0.0),
        ("q", "organisation", "Organization", 1.0, 1.0),
        ("q", "the", "a", 0.0, 0.0),
        ("q", "", "", 0.0, 0.0),
        ("q", "net sales rose", "sales rose sharply", 0.0, 0.666667),
        ("q", "nineteen", "19", 1.0, 1.0),
        ("q", "twenty", "20", 0.0, 0.0),
        ("q", "U.S.A.", "usa", 1.0, 1.0),
        ("q", "1,000", "1000", 1.0, 1.0),
        ("q", "2.5", "25", 1.0, 1.0),
    ],
)
def test_slidevqa_as_released(asked: str, gold: str, given_: str, em: float, f1: float) -> None:
    question = Question("q", asked, (gold,), benchmark="slidevqa")
    assert answer_score(question, given_) == em
    assert slidevqa_f1(question, given_) == pytest.approx(f1, abs=1e-6)


def test_a_slidevqa_question_without_a_unit_is_scored_all_the_same() -> None:
    """The released script stops at a question that ends in one of its phrases."""
    assert units("how many") == units("of which") == []
    assert slidevqa_scores("ten", "10", "how many") == (1.0, 1.0)


def test_model_output_is_never_evaluated() -> None:
    assert parse_list("[__import__('os').getcwd()]") == ["__import__('os').getcwd()"]
    assert mmlongbench_score("['a']", "[print('a')]", "List") == 0.0
    assert mmlongbench_score("['alpha', 'beta']", "[alpha, betx]", "List") == 0.75
    assert mmlongbench_score("[3]", "[1+2]", "List") == 0.0
    assert parse_list("[" * 5000) != []


def test_mmlongbench_f1_over_answerable_and_answered() -> None:
    # two of three answerable ones right (one by 0.5), three of four answered: recall 1.5 / 3, precision 1.5 / 3
    rows = [(1.0, True, False), (0.5, True, False), (0.0, True, True), (0.0, False, False)]
    assert mmlongbench_f1(rows) == pytest.approx(0.5)
    assert mmlongbench_f1([(1.0, True, False), (0.0, False, False)]) == pytest.approx(2 / 3)
    assert mmlongbench_f1([(1.0, False, True)]) == 0.0
    assert mmlongbench_f1([]) == 0.0


def test_edit_distance_by_hand() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert anls("kitten", "sitting") == pytest.approx(1 - 3 / 7)


def test_exact_match() -> None:
    asked = Question("q", "?", ("forty", "47"), answer_format="Exact")
    assert exact_match("The Acme, Inc.", "acme inc") == 1.0
    assert answer_score(asked, "47") == 1.0
    assert answer_score(asked, "") == 0.0
    assert rule_of(asked) == "exact match"


@pytest.mark.parametrize("answer", ["Not answerable", "not answerable.", " Unanswerable ", "missing!", "'Missing'"])
def test_a_refusal(answer: str) -> None:
    assert says_missing(answer)
    assert answer_score(Question("q", "?", ("none",), answer_format="Exact", answerable=False), answer) == 1.0


@pytest.mark.parametrize(
    "answer",
    ["Missing persons unit", "insufficient funds", "No information desk", "47", "", "mission", "answerable"],
)
def test_a_phrase_inside_an_answer_is_no_refusal(answer: str) -> None:
    assert not says_missing(answer)
    assert answer_score(Question("q", "?", ("none",), answer_format="Exact", answerable=False), answer) == 0.0


def test_vidoseek_is_never_scored_by_another_rule() -> None:
    asked = Question("q", "?", ("Kent",), benchmark="vidoseek")
    assert rule_of(asked) == NO_RULE
    assert answer_score(asked, "Kent") is None


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["Int", "Float", "Str", "List", "None"]))
def test_any_text_has_a_score(gold: str, answer: str, form: str) -> None:
    assert 0.0 <= mmlongbench_score(gold, answer, form) <= 1.0


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_any_slide_answer_has_scores(gold: str, answer: str, question: str) -> None:
    em, f1 = slidevqa_scores(gold, answer, question)
    assert 0.0 <= em <= f1 <= 1.0 + 1e-12


@given(st.text(max_size=12), st.text(max_size=12))
def test_edit_distance_is_a_metric(a: str, b: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) <= max(len(a), len(b))
