"""Measures on the Evidence Space as it stands at the end of an episode: which gold pages it covers, how much is excess.

Source: SCoRE (arXiv 2609.15800), `cov` and `cmp`: page recall and page precision of the final ledger.
"""

from __future__ import annotations

from visor_core.scoring.episode import Episode
from visor_core.scoring.retrieval import precision, recall


def ledger_pages(episode: Episode) -> tuple[str, ...]:
    """Distinct pages of the entries that stand, in order of entry."""
    return tuple(dict.fromkeys(entry.page_id for entry in episode.standing_evidence))


def coverage(episode: Episode) -> float:
    """`cov`: share of the question's gold pages that have a standing entry."""
    return recall(ledger_pages(episode), episode.question.gold_pages)


def compactness(episode: Episode) -> float:
    """`cmp`: share of the ledger's pages that are gold."""
    return precision(ledger_pages(episode), episode.question.gold_pages)


def pages_read(episode: Episode) -> tuple[str, ...]:
    """Distinct pages that the episode read: those of the ledger or, under a strategy without one, those it commented
    on at their sight."""
    return tuple(dict.fromkeys(entry.page_id for entry in episode.readings))
