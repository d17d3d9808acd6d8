"""New values keep the form of the old ones and differ by more than any rule forgives."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visor_core.questions import Question
from visor_core.scoring.answers import answer_score
from visor_core.stress.values import changed, new_number, new_text, new_value, printed_new

NUMBERS = st.one_of(
    st.integers(1, 10**9).map(str),
    st.integers(1, 10**12).map(lambda n: f"{n:,}"),
    st.tuples(st.integers(0, 99_999), st.integers(1, 999)).map(lambda p: f"{p[0]:,}.{p[1]:03d}"),
)


@given(NUMBERS, st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_a_number_keeps_its_digits_and_marks_and_moves_by_a_fifth(old: str, seed: int) -> None:
    new = new_number(old, random.Random(seed))
    assert new is not None
    assert re.sub(r"\d", "0", new) == re.sub(r"\d", "0", old)
    was, now = (float(text.replace(",", "")) for text in (old, new))
    assert abs(now - was) >= 0.2 * max(now, was)
    assert new == new_number(old, random.Random(seed))


def test_a_year_becomes_another_year() -> None:
    for seed in range(20):
        new = new_number("2015", random.Random(seed), year=True)
        assert new is not None
        assert 1700 <= int(new) <= 1914


def test_a_text_becomes_another_of_like_length_and_case() -> None:
    pool = ["Rick Scott", "Less well-off", "DELAWARE", "a", "['x', 'y']", "Anna Berg"]
    assert {new_text("Rick Scott", pool, random.Random(seed)) for seed in range(9)} == {"Less well-off", "Anna Berg"}
    assert new_text("one two three", pool, random.Random(0)) is None


@pytest.mark.parametrize(
    ("answer", "form"), [("1,204", "Int"), ("12.5%", "Float"), ("$3.07", "Float"), ("2015", "Int"), ("42", "Str")]
)
def test_the_rule_tells_the_new_value_from_the_old(answer: str, form: str) -> None:
    given_answer = answer.replace(",", "") if form == "Int" else answer
    question = Question("q", "how much?", (given_answer,), answer_format=form)
    new = new_value(question, [], random.Random(1), answer)
    assert new is not None
    assert answer_score(question, new) == 0.0
    assert answer_score(changed(question, new), given_answer) == 0.0
    assert answer_score(changed(question, new), new) == 1.0


@pytest.mark.parametrize(
    ("printed", "old", "new", "found"),
    [
        (["($1,204),"], "1204", "5731", "($5,731),"),
        (["12.5%"], "12.5%", "47.1%", "47.1%"),
        (["“Rick", "Scott”."], "Rick Scott", "Anna Berg", "“Anna Berg”."),
        (["RICK", "SCOTT"], "Rick Scott", "Anna Berg", "Anna Berg"),
        (["nothing"], "1204", "5731", None),
    ],
)
def test_marks_around_a_value_stay_as_they_are_printed(printed: list[str], old: str, new: str, found: str) -> None:
    assert printed_new(printed, old, new) == found
