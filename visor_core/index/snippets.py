"""A few words of a page around where a query's terms stand closest."""

from __future__ import annotations

from collections import Counter

from visor_core.index.marks import marks, sought
from visor_core.index.passages import pieces_of


def snippet(text: str, query: str, length: int = 30) -> str:
    """Up to `length` words of `text`: the window with the most different terms of `query`, in the middle of the first
    ones that have as many.

    Where no spaces stand between words, a few characters count as one, as in a passage.
    """
    wanted = sought(query)
    pieces: list[str] = []
    terms: list[tuple[str, ...]] = []
    for word in text.split():
        cut = pieces_of(word)
        found = marks(word, wanted)
        start = 0
        for piece in cut:
            end = start + len(piece)
            terms.append(tuple(mark.term for mark in found if start <= mark.start < end))
            start = end
        pieces += cut
    if len(pieces) <= length:
        return "".join(pieces).rstrip()
    inside: Counter[str] = Counter()
    best, first, last_best = -1, 0, 0
    for last, new in enumerate(terms):
        inside.update(new)
        start = last - length + 1
        if start > 0 and terms[start - 1]:
            inside.subtract(terms[start - 1])
            inside += Counter()
        if start >= 0 and len(inside) > best:
            best, first, last_best = len(inside), start, start
        elif start == last_best + 1 and len(inside) == best:
            last_best = start
    best_start = (first + last_best) // 2 if best else 0
    cut_text = "".join(pieces[best_start : best_start + length]).rstrip()
    return f"{'… ' if best_start else ''}{cut_text}{' …' if best_start + length < len(pieces) else ''}"
