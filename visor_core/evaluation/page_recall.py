"""Page recall of plain search: how much of a question's evidence the index alone brings up, with no agent.

Recall@k is the mean over questions of the share of gold pages among the first k; the ceiling is what a perfect
ranking would reach at that k (a question with seven gold pages reaches 5/7 at 5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visor_core.errors import DataError
from visor_core.questions import Question
from visor_core.scoring.retrieval import ndcg, recall_at

CUTS = (1, 3, 5, 10)
Search = Callable[[Question, int], Sequence[str]]
"""(question, k) → page ids, best first."""


@dataclass(frozen=True, slots=True)
class PageRecall:
    """Figures of one way of searching; `recall` and `ceiling` by cut, MRR over the first ten, nDCG@5."""

    name: str
    recall: dict[int, float]
    ceiling: dict[int, float]
    mrr: float
    ndcg_at_5: float
    questions: int


def measure_page_recall(
    name: str,
    search: Search,
    questions: Sequence[Question],
    *,
    cuts: Sequence[int] = CUTS,
    progress: Callable[[int, int], None] | None = None,
) -> PageRecall:
    """Search once a question and compare with its gold pages; questions without gold pages are left out.

    Raises:
        DataError: if no question has a gold page.
    """
    asked = [question for question in questions if question.gold_pages]
    if not asked:
        raise DataError("no question has evidence pages in this corpus: ingest the documents the questions are about")
    depth = max(cuts)
    found, best, reciprocal, gain = dict.fromkeys(cuts, 0.0), dict.fromkeys(cuts, 0.0), 0.0, 0.0
    for done, question in enumerate(asked, start=1):
        ranking, gold = list(search(question, depth)), set(question.gold_pages)
        for k in cuts:
            found[k] += recall_at(ranking, gold, k)
            best[k] += min(k, len(gold)) / len(gold)
        first = next((rank for rank, page in enumerate(ranking, start=1) if page in gold), None)
        reciprocal += 1 / first if first else 0.0
        gain += ndcg(ranking, gold, 5)
        if progress:
            progress(done, len(asked))
    count = len(asked)
    return PageRecall(
        name,
        {k: value / count for k, value in found.items()},
        {k: value / count for k, value in best.items()},
        reciprocal / count,
        gain / count,
        count,
    )
