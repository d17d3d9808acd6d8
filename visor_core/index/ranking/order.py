"""The rankings of a search, those of the candidates and those that the query itself gives, and their fusion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from visor_core.index.fusion import reciprocal_rank_fusion
from visor_core.index.passages import mentioned_pages
from visor_core.index.records import Document, page_id_of, split_page_id

WEIGHTS = {"text": 2.0}
"""Weights of the rankings in the fusion, 1 where none is given; chosen on half of the documents of bench_recall."""


def rankings_of(
    query: str, candidates: Mapping[str, Sequence[tuple[str, float]]], named: Iterable[Document] = ()
) -> dict[str, list[str]]:
    """Page ids by ranking: those of the candidates, and `number`, the pages whose number the query names.

    Args:
        query: as it was asked.
        candidates: scored pages by ranking, best first.
        named: documents that the search is restricted to, whose pages of a named number need not be candidates.
    """
    rankings = {name: [page_id for page_id, _ in scored] for name, scored in candidates.items()}
    if numbers := mentioned_pages(query):
        found = [page_id for page_id, _ in fused(rankings) if split_page_id(page_id)[1] in numbers]
        pages = [
            page_id_of(document.document_id, number)
            for document in named
            for number in sorted(numbers)
            if document.status == "ok" and 0 < number <= document.num_pages
        ]
        rankings["number"] = list(dict.fromkeys([*found, *pages]))
    return rankings


def fused(rankings: Mapping[str, Sequence[str]]) -> list[tuple[str, float]]:
    """One ranking of all pages, with scores."""
    return reciprocal_rank_fusion(rankings, WEIGHTS)
