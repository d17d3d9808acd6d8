"""Item by item what the released scripts say: those of MMLongBench-Doc, SlideVQA, LongDocURL and MADQA, and ViDoSeek's
decision from a grade.

`official_verdicts.jsonl` holds replies of our own making, drawn by a seed (typing errors, signs, units, rounding, other
order, refusals), and what `eval/eval_score.py` of MMLongBench-Doc (commit 263f15d), `evaluate.py` of SlideVQA (commit
ef1292f), `utils/utils_score_v3.py` of LongDocURL and `anls_star` 1.0.1 as MADQA's `eval/metrics.py` (commit 59f58c0)
calls it, run outside the project, gave for each; a line each holds what they gave for all together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from visor_core.evaluation.reported import accuracy
from visor_core.evaluation.verdicts import NOT_ANSWERABLE
from visor_core.questions import Question
from visor_core.scoring.answers import answer_score, slidevqa_f1
from visor_core.scoring.judged import UnreadableError, answer_in, grade_in, right_by_grade, verdict_in
from visor_core.scoring.mmlongbench import mmlongbench_f1, mmlongbench_score

FILE = Path(__file__).with_name("official_verdicts.jsonl")
ROWS: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
TOGETHER = {row["benchmark"]: row for row in ROWS if "over" in row}


def _rows(benchmark: str) -> list[dict[str, Any]]:
    return [row for row in ROWS if row["benchmark"] == benchmark and "over" not in row]


def test_mmlongbench_agrees_item_by_item() -> None:
    rows = _rows("mmlongbench")
    assert len(rows) == TOGETHER["mmlongbench"]["over"] >= 500
    differ = [row for row in rows if abs(_extracted_score(row) - row["score"]) > 1e-9]
    assert differ == []


def _extracted_score(row: dict[str, Any]) -> float:
    """The score of the reply as an extractor would hand it on."""
    extracted = answer_in(f"Extracted answer: {row['reply']}\nAnswer format: String") if row["reply"].strip() else ""
    return mmlongbench_score(row["gold"], extracted, row["format"])


def test_mmlongbench_agrees_over_all() -> None:
    rows = _rows("mmlongbench")
    scores = [mmlongbench_score(row["gold"], row["reply"], row["format"]) for row in rows]
    assert sum(scores) / len(scores) == pytest.approx(TOGETHER["mmlongbench"]["accuracy"])
    told = [
        (score, row["gold"] != NOT_ANSWERABLE, row["reply"] == NOT_ANSWERABLE)
        for score, row in zip(scores, rows, strict=True)
    ]
    assert mmlongbench_f1(told) == pytest.approx(TOGETHER["mmlongbench"]["f1"])


def test_slidevqa_agrees_item_by_item_and_over_all() -> None:
    rows = _rows("slidevqa")
    assert len(rows) == TOGETHER["slidevqa"]["over"] >= 500
    found = []
    for row in rows:
        question = Question("q", row["question"], (row["gold"],), benchmark="slidevqa")
        found.append((answer_score(question, row["reply"]), slidevqa_f1(question, row["reply"])))
    differ = [
        (row, got)
        for row, got in zip(rows, found, strict=True)
        if got[0] != row["em"] or abs((got[1] or 0.0) - row["f1"]) > 1e-9
    ]
    assert differ == []
    assert sum(em or 0.0 for em, _ in found) / len(found) == pytest.approx(TOGETHER["slidevqa"]["em"])
    assert sum(f1 or 0.0 for _, f1 in found) / len(found) == pytest.approx(TOGETHER["slidevqa"]["f1"])


@pytest.mark.parametrize("benchmark", ["longdocurl", "madqa"])
def test_longdocurl_and_madqa_agree_item_by_item_and_over_all(benchmark: str) -> None:
    rows = _rows(benchmark)
    assert len(rows) == TOGETHER[benchmark]["over"] >= 500
    scores = [_by_own_rule(row) for row in rows]
    assert [row for row, score in zip(rows, scores, strict=True) if abs(score - row["score"]) > 1e-9] == []
    together = {"accuracy": accuracy(benchmark, scores).estimate, "anls": sum(scores) / len(scores)}
    told = {name: value for name, value in TOGETHER[benchmark].items() if name in together}
    assert {name: together[name] for name in told} == pytest.approx(told)


def _by_own_rule(row: dict[str, Any]) -> float:
    gold = tuple(row["gold"]) if row["benchmark"] == "madqa" else (row["gold"],)
    question = Question("q", "?", gold, row["benchmark"], answer_format=row.get("format", ""))
    score = answer_score(question, row["reply"])
    assert score is not None
    return score


@pytest.mark.parametrize(
    ("reply", "right"),
    [("1", 0.0), ("Grade: 3", 0.0), ("3.9", 0.0), ("Score: 4", 1.0), ("4.0\nIt is right.", 1.0), ("5/5", 1.0)],
)
def test_vidoseek_takes_four_and_more_for_right(reply: str, right: float) -> None:
    assert right_by_grade(grade_in(reply)) == right


@pytest.mark.parametrize("reply", ["", "0", "6", "5.5", "10", "Grade: 3\nGrade: 4", "between 3 and 4", "<think>4"])
def test_a_grade_that_is_none_is_no_verdict(reply: str) -> None:
    with pytest.raises(UnreadableError):
        grade_in(reply)


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("True", 1.0),
        ("Verdict: False", 0.0),
        ("**Verdict:** True", 1.0),
        ("They agree.\nverdict: true.", 1.0),
        ("<think>False at first sight</think>\nTrue", 1.0),
        ("False\nFalse", 0.0),
    ],
)
def test_a_verdict_stands_on_a_line_of_its_own(reply: str, right: float) -> None:
    assert verdict_in(reply) == right


@pytest.mark.parametrize("reply", ["", "True or False", "True\nFalse", "It is True that …", "Yes", "<think>True"])
def test_a_verdict_that_cannot_be_read_is_none(reply: str) -> None:
    with pytest.raises(UnreadableError):
        verdict_in(reply)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Extracted answer: 47\nAnswer format: Integer", "47"),
        ("Extracted answer: ['a',\n 'b']\nAnswer format: List", "['a',\n 'b']"),
        ("extracted answer: Not answerable", "Not answerable"),
    ],
)
def test_the_extracted_answer_is_what_stands_at_its_label(reply: str, answer: str) -> None:
    assert answer_in(reply) == answer


@pytest.mark.parametrize("reply", ["47", "Extracted answer:\nAnswer format: String", "Answer format: Integer"])
def test_an_extraction_without_an_answer_is_none(reply: str) -> None:
    with pytest.raises(UnreadableError):
        answer_in(reply)
