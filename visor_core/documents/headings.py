"""What a page's layout says of its place in the document: its headings, and its path in the outline.

A heading is a short line set larger than the page's text, or numbered as a part of a document. Leaves out: headings
that differ in weight or colour alone, which word boxes do not tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from visor_core.documents.reader import OutlineEntry, Word

_LARGER = 1.2
"""A heading's height over that of the page's text."""
_MOST_WORDS = 14
_MOST_HEADINGS = 4
_MOST_LETTERS = 120
_NUMBERED = re.compile(
    r"(?:\d{1,2}(?:\.\d{1,2}){0,3}\.?|(?:item|part|note|section|chapter|appendix|kapitel|chapitre)\s+[\dIVXA-F]{1,4}[A-Z]?)"
    r"[.:]?\s+[^\W\d_]",
    re.IGNORECASE,
)


def headings_of(blocks: Sequence[Sequence[Word]]) -> tuple[str, ...]:
    """Up to four headings of a page, the largest ones, in reading order.

    Args:
        blocks: words in reading order.
    """
    heights = [word.y1 - word.y0 for block in blocks for word in block]
    if not heights:
        return ()
    usual = float(np.median(heights))
    found: list[tuple[float, int, str]] = []
    for number, line in enumerate(line for block in blocks for line in _lines(block)):
        text = " ".join(word.text for word in line)
        if len(line) > _MOST_WORDS or sum(c.isalpha() for c in text) < 3:
            continue
        height = float(np.median([word.y1 - word.y0 for word in line]))
        if height >= _LARGER * usual or (_NUMBERED.match(text) and not text.endswith((".", ";", ","))):
            found.append((-height, number, text[:_MOST_LETTERS]))
    largest = sorted(found)[:_MOST_HEADINGS]
    return tuple(text for _, _, text in sorted(largest, key=lambda heading: heading[1]))


def _lines(block: Iterable[Word]) -> list[list[Word]]:
    """Words of a block by line: a word that begins below the middle of the one before starts another."""
    lines: list[list[Word]] = []
    for word in block:
        before = lines[-1][-1] if lines else None
        if before is None or word.y0 > (before.y0 + before.y1) / 2 or word.y1 < before.y0:
            lines.append([])
        lines[-1].append(word)
    return lines


def outline_path(outline: Sequence[OutlineEntry], page: int) -> str:
    """The titles of the outline's parts that a page lies in or that begin on it, outermost first.

    >>> outline_path([OutlineEntry(1, "Report", 1), OutlineEntry(2, "Risks", 3), OutlineEntry(2, "Notes", 5)], 4)
    'Report › Risks'
    """
    path: list[OutlineEntry] = []
    begun: list[str] = []
    for entry in outline:
        if entry.page > page:
            break
        if entry.page == page:
            begun.append(entry.title)
        path = [*(outer for outer in path if outer.level < entry.level), entry]
    titles = dict.fromkeys([*(entry.title for entry in path if entry.page < page), *begun])
    return " › ".join(titles)[:400]
