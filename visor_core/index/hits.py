"""What a search returns: the first pages of the order, each with its document, a snippet and where it stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from visor_core.index.records import Hit, PageText
from visor_core.index.snippets import Snippets


def hits_of(
    query: str,
    ordered: Sequence[tuple[str, float]],
    pages: Mapping[str, PageText],
    rankings: Mapping[str, Sequence[str]],
) -> list[Hit]:
    """Hits in the given order.

    Args:
        query: as it was asked.
        ordered: page ids with scores, best first.
        pages: each of those pages.
        rankings: page ids by ranking, for the places.
    """
    hits, snippets = [], Snippets(query)
    for page_id, score in ordered:
        page = pages[page_id]
        ranks = {name: ranking.index(page_id) + 1 for name, ranking in rankings.items() if page_id in ranking}
        hits.append(Hit(page_id, page.document_id, page.filename, page.page, score, snippets.of(page.text), ranks))
    return hits
