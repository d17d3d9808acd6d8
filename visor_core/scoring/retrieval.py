"""Measures on sets and rankings of pages: recall, precision, binary NDCG, and the interleaving of several searches.

NDCG is that of UniDoc-RL (arXiv 2604.14967) and VRAG-RL (arXiv 2505.22019), but for repeated pages, which count once
here; the released code of the former compares characters of page names instead of pages, so that its term is always 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def recall(found: Iterable[str], gold: Iterable[str]) -> float:
    """Share of gold pages found; 1 when nothing is needed."""
    wanted = set(gold)
    return len(wanted & set(found)) / len(wanted) if wanted else 1.0


def precision(found: Iterable[str], gold: Iterable[str]) -> float:
    """Share of found pages that are gold; 0 when nothing was found."""
    pages = set(found)
    return len(pages & set(gold)) / len(pages) if pages else 0.0


def f1(found: Iterable[str], gold: Iterable[str]) -> float:
    """Harmonic mean of precision and recall over pages."""
    pages, wanted = set(found), set(gold)
    total = len(pages) + len(wanted)
    return 2 * len(pages & wanted) / total if total else 1.0


def recall_at(ranking: Sequence[str], gold: Iterable[str], k: int) -> float:
    """Recall of the first `k` distinct pages of a ranking."""
    return recall(list(dict.fromkeys(ranking))[:k], gold)


def ndcg(ranking: Sequence[str], gold: Iterable[str], k: int | None = None) -> float:
    """Binary NDCG, Σ 1/log2(rank + 1) over gold pages divided by the best possible; repeats count once.

    With `k`, both sums stop at rank k. 0 when nothing is needed, as in the sources.
    """
    wanted = set(gold)
    if not wanted:
        return 0.0
    pages = list(dict.fromkeys(ranking))[:k]
    gained = sum(1 / math.log2(rank + 1) for rank, page in enumerate(pages, start=1) if page in wanted)
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(wanted), k or len(wanted)) + 1))
    return gained / best


def interleave(rankings: Sequence[Sequence[str]], gold: Iterable[str]) -> list[str]:
    """All rankings merged rank by rank (first the rank-1 pages in the order of the searches, then rank 2, …).

    A page that several searches offer keeps one place: a gold page that of its first offer, any other its best one.
    UniDoc-RL gives every page its best place, so that asking again promotes a gold page; the first place for every page
    would let a search in vain take the pages above a gold one out of its way. As it is, a search that offers no new
    gold page can only push gold pages down, wherever it comes.
    """
    wanted = set(gold)
    places: dict[str, tuple[int, int]] = {}
    for search, ranking in enumerate(rankings):
        for rank, page in enumerate(dict.fromkeys(ranking)):
            if page not in places or page not in wanted:
                places[page] = min((rank, search), places.get(page, (rank, search)))
    return sorted(places, key=places.__getitem__)
