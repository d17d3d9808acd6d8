"""What the ranking reads of candidate pages: their terms, section and kind, those read last kept in memory."""

from __future__ import annotations

import functools
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from visor_core.index.corpus import quoted, rows
from visor_core.index.ranking.wording import terms

_NUMBER = re.compile(r"(?:^|(?<= ))\d")
_REMEMBERED = 1_024
"""Pages, of which a full one takes about a tenth of a megabyte."""
MOST_TERMS = 4_000
"""Terms of a page that are stored and compared; a longer page is read to there."""


@dataclass(frozen=True, slots=True)
class PageFacts:
    """A page as the ranking compares it with a question."""

    terms: frozenset[str]
    said: str
    """The terms in their order, with a space before, between and after them."""
    section: frozenset[str]
    """Terms of its path: outline, headings above and its own."""
    digits: float
    """Share of its terms that are numbers, 0–1."""
    length: int
    """Terms on the page."""

    def beside(self, pair: tuple[str, str]) -> bool:
        """Whether two terms stand side by side, in this order."""
        return f" {pair[0]} {pair[1]} " in self.said


def facts_of(said: str, section: str) -> PageFacts:
    """The facts of a page by its terms, in their order, with a space between them.

    >>> facts_of("net sales 1577 1402", "Statements of Earnings").digits
    0.5
    """
    told = said.split(" ") if said else []
    numbers = len(_NUMBER.findall(said))
    return PageFacts(
        frozenset(told),
        f" {said} ",
        _terms_of(section),
        numbers / len(told) if told else 0.0,
        len(told),
    )


@functools.lru_cache(maxsize=4_096)
def _terms_of(section: str) -> frozenset[str]:
    """The terms of a section's path, which many pages share."""
    return frozenset(terms(section))


_NOTHING = facts_of("", "")
"""Facts of a page without text."""


class StoredFacts:
    """Reads the facts of pages from the table page_texts. Safe for threads."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._facts: OrderedDict[str, PageFacts] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, page_ids: Sequence[str]) -> dict[str, PageFacts]:
        """Facts by page id."""
        with self._lock:
            found = {page_id: self._facts[page_id] for page_id in page_ids if page_id in self._facts}
        missing = [page_id for page_id in page_ids if page_id not in found]
        if missing:
            found |= dict.fromkeys(missing, _NOTHING)
            for row in rows(self._table, ["page_id", "terms", "section"], f"page_id IN ({quoted(missing)})"):
                found[row["page_id"]] = facts_of(row["terms"], row["section"] or "")
        with self._lock:
            for page_id in page_ids:
                self._facts[page_id] = found[page_id]
                self._facts.move_to_end(page_id)
            while len(self._facts) > _REMEMBERED:
                self._facts.popitem(last=False)
        return found
