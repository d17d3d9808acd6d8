"""Answer rules by hand: `rules_by_hand.jsonl` holds cases of each published rule, each with why it scores so.

The same values came from running the released scripts. 60,000 drawn pairs of each benchmark agreed with them but where
they stop or run a list as code (LongDocURL and MADQA: those that are kept); `test_official_verdicts.py` keeps two
thousand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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

BY_HAND: list[dict[str, Any]] = [
    json.loads(line)
    for line in Path(__file__).with_name("rules_by_hand.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("row", BY_HAND, ids=lambda row: f"{row['rule']}: {row['why']}")
def test_the_rules_by_hand(row: dict[str, Any]) -> None:
    """Each case says why its score is what it is; `benchmark` follows from the rule."""
    benchmarks = {
        "SlideVQA": "slidevqa",
        "MMLongBench-Doc": "mmlongbench",
        "LongDocURL": "longdocurl",
        "MADQA": "madqa",
    }
    benchmark = benchmarks.get(row["rule"], "")
    answerable = row["gold"] != "Not answerable"
    question = Question(
        "q", row.get("question", "?"), (row["gold"],), benchmark, answer_format=row.get("format", ""),
        answerable=answerable,
    )  # fmt: skip
    assert rule_of(question) == row["rule"]
    assert answer_score(question, row["reply"]) == pytest.approx(row["score"])
    assert slidevqa_f1(question, row["reply"]) == (pytest.approx(row["f1"]) if "f1" in row else None)


def test_there_are_enough_of_them() -> None:
    assert (
        len({(row["rule"], row.get("format"), row["gold"], row["reply"], row.get("question")) for row in BY_HAND}) >= 60
    )


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
