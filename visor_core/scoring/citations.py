"""Citations of an answer against the gold pages.

After DR3-Eval's citation coverage (arXiv 2604.14683), the share of required documents that a report cites, matched by
their titles; here it is pages that are compared, by id, and precision and F1 are added.
"""

from __future__ import annotations

from visor_core.scoring.episode import Episode
from visor_core.scoring.retrieval import precision, recall


def cited_pages(episode: Episode) -> tuple[str, ...]:
    """Distinct pages the answer cites."""
    return tuple(dict.fromkeys(citation.page_id for citation in episode.citations))


def citation_recall(episode: Episode) -> float:
    """Share of gold pages cited."""
    return recall(cited_pages(episode), episode.question.gold_pages)


def citation_precision(episode: Episode) -> float:
    """Share of cited pages that are gold; 0 without a citation."""
    return precision(cited_pages(episode), episode.question.gold_pages)


def citation_f1(episode: Episode) -> float:
    """Harmonic mean of both; 1 when no page is needed and none is cited."""
    gold, cited = set(episode.question.gold_pages), set(cited_pages(episode))
    total = len(gold) + len(cited)
    return 2 * len(gold & cited) / total if total else 1.0
