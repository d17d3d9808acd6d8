"""Reciprocal rank fusion (Cormack et al. 2009): rankings → one ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

RRF_K = 5
"""Smaller than the customary 60: few rankings, each good at its top (bench_recall)."""


def reciprocal_rank_fusion(
    rankings: Mapping[str, Sequence[str]], weights: Mapping[str, float] | None = None, k: int = RRF_K
) -> list[tuple[str, float]]:
    """Items by Σ weight / (k + rank), ranks from 1; equal scores in the order of the items' names.

    >>> reciprocal_rank_fusion({"text": ["a", "b"], "vector": ["b", "c"]}, k=1)[0]
    ('b', 0.8333333333333333)
    """
    scores: dict[str, float] = {}
    for name, ranking in rankings.items():
        weight = 1.0 if weights is None else weights.get(name, 1.0)
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
