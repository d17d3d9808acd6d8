"""Answer rules against cases worked by hand from the published protocols."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visor_core.questions import Question
from visor_core.scoring.answers import (
    anls,
    answer_score,
    edit_distance,
    exact_match,
    mmlongbench_score,
    parse_list,
    says_missing,
    token_f1,
)


@pytest.mark.parametrize(
    ("form", "gold", "given_", "expected"),
    [
        ("Int", "4", "4", 1.0),
        ("Int", "4", "4.9", 1.0),  # the protocol compares int(float(prediction))
        ("Int", "4", "5", 0.0),
        ("Int", "4", "four", 0.0),
        ("Int", "4", "nan", 0.0),
        ("Float", "12.5", "12.6", 1.0),  # within 1 %
        ("Float", "12.5", "12.7", 0.0),
        ("Float", "12.5%", "0.125", 1.0),
        ("Float", "0.125", "12.5", 1.0),
        ("Float", "$3.20", "3.2", 1.0),
        ("Float", "3.2", "about three", 0.0),
        ("Str", "Annual report", "annual report", 1.0),
        ("Str", "abcd", "abxy", 0.0),  # exactly 0.5 scores 0
        ("Str", "abcde", "abcxy", 0.6),
        ("Str", "https://a.org/x", "https://a.org/y", 0.0),  # URLs match exactly
        ("Str", "2019-03-04", "2019-03-05", 0.0),
        ("Str", "9:30 a.m.", "9:31 a.m.", 0.0),
        ("Str", "Paris (France)", "'paris'", 1.0),
        ("None", "Not answerable", "Not answerable", 1.0),
        ("List", "['a', 'b']", "['b', 'a']", 1.0),
        ("List", "['a', 'b']", "['a']", 0.0),
        ("List", "['alpha', 'beta']", "[alpha, betx]", 0.75),
        ("List", "[1, 2]", "[2, 1]", 1.0),
        ("List", "['10', '20']", "['10', '21']", 0.0),  # numbers compare as joined strings
        ("List", "['a']", "a", 1.0),
    ],
)
def test_mmlongbench_rules(form: str, gold: str, given_: str, expected: float) -> None:
    assert mmlongbench_score(gold, given_, form) == pytest.approx(expected)


def test_model_output_is_never_evaluated() -> None:
    assert parse_list("[__import__('os').getcwd()]") == ["__import__('os').getcwd()"]
    assert mmlongbench_score("['a']", "[print('a')]", "List") == 0.0
    assert parse_list("[" * 5000) != []


def test_edit_distance_by_hand() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert anls("kitten", "sitting") == pytest.approx(1 - 3 / 7)


def test_squad_measures() -> None:
    assert exact_match("The Acme, Inc.", "acme inc") == 1.0
    assert token_f1("net sales rose", "sales rose sharply") == pytest.approx(2 / 3)
    assert token_f1("a", "the") == 1.0


def test_answerability() -> None:
    open_question = Question("q", "?", ("47",), answer_format="Int")
    closed = Question("q", "?", ("Not answerable",), answer_format="None", answerable=False)
    assert answer_score(open_question, "Not answerable") == 0.0
    assert answer_score(open_question, "") == 0.0
    assert answer_score(closed, "The document is insufficient to tell.") == 1.0
    assert answer_score(closed, "47") == 0.0
    assert says_missing("It CANNOT   be answered")


def test_the_best_of_several_answers_counts() -> None:
    asked = Question("q", "?", ("forty", "47"), answer_format="Exact")
    assert answer_score(asked, "47") == 1.0


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["Int", "Float", "Str", "List", "None"]))
def test_any_text_has_a_score(gold: str, answer: str, form: str) -> None:
    assert 0.0 <= mmlongbench_score(gold, answer, form) <= 1.0


@given(st.text(max_size=12), st.text(max_size=12))
def test_edit_distance_is_a_metric(a: str, b: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) <= max(len(a), len(b))
