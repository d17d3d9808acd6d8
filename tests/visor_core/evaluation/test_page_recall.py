"""Recall, ceiling, MRR and nDCG of two questions worked by hand."""

import math

import pytest

from visor_core.errors import DataError
from visor_core.evaluation.page_recall import measure_page_recall
from visor_core.questions import Question

QUESTIONS = [
    Question("q1", "one?", (), gold_pages=("a/1",)),
    Question("q2", "two?", (), gold_pages=("a/1", "a/2")),
    Question("q3", "no gold?", ()),
]


def test_two_questions_by_hand() -> None:
    rankings = {"q1": ["a/9", "a/1", "a/8"], "q2": ["a/2", "a/7", "a/6", "a/5", "a/1"]}
    calls = []
    found = measure_page_recall(
        "text", lambda q, k: rankings[q.question_id][:k], QUESTIONS, progress=lambda *c: calls.append(c)
    )
    assert found.questions == 2
    assert found.recall == {1: 0.25, 3: 0.75, 5: 1.0, 10: 1.0}
    assert found.ceiling == {1: 0.75, 3: 1.0, 5: 1.0, 10: 1.0}
    assert found.mrr == pytest.approx((1 / 2 + 1) / 2)
    best = 1 + 1 / math.log2(3)
    assert found.ndcg_at_5 == pytest.approx((1 / math.log2(3) + (1 + 1 / math.log2(6)) / best) / 2)
    assert calls == [(1, 2), (2, 2)]


def test_no_gold_is_refused() -> None:
    with pytest.raises(DataError, match="evidence pages"):
        measure_page_recall("text", lambda q, k: [], QUESTIONS[2:])
