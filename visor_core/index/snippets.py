"""A few words of a page around where a query's terms stand closest."""

from __future__ import annotations

import re
from collections import Counter

from visor_core.index.marks import Sought, marks, sought
from visor_core.index.passages import pieces_of


class Snippets:
    """Snippets of one query: what it says of a word is worked out once, on however many pages that stands."""

    def __init__(self, query: str) -> None:
        self._wanted = sought(query)
        looked_for = self._wanted.beginnings | self._wanted.parts
        # A plain word in which none of these stands needs no closer look; most words are such.
        self._plain = re.compile("|".join(map(re.escape, looked_for)) or r"(?!)")
        self._words: dict[str, tuple[list[str], list[tuple[str, ...]]]] = {}

    def of(self, text: str, length: int = 30) -> str:
        """Up to `length` words of `text`: the window with the most different terms of the query, in the middle of the
        first ones that have as many.

        Where no spaces stand between words, a few characters count as one, as in a passage.
        """
        pieces: list[str] = []
        terms: list[tuple[str, ...]] = []
        for word in text.split():
            read = self._words.get(word)
            if read is None:
                if word.isascii() and word.isalnum() and not self._plain.search(word.lower()):
                    pieces.append(f"{word} ")
                    terms.append(())
                    continue
                read = self._words[word] = _read(word, self._wanted)
            pieces += read[0]
            terms += read[1]
        return _window(pieces, terms, length)


def _read(word: str, wanted: Sought) -> tuple[list[str], list[tuple[str, ...]]]:
    """The pieces of a word, and the terms that stand in each."""
    pieces, found = list(pieces_of(word)), marks(word, wanted)
    if not found:
        return pieces, [()] * len(pieces)
    terms, start = [], 0
    for piece in pieces:
        end = start + len(piece)
        terms.append(tuple(mark.term for mark in found if start <= mark.start < end))
        start = end
    return pieces, terms


def _window(pieces: list[str], terms: list[tuple[str, ...]], length: int) -> str:
    """The pieces of the best window."""
    if len(pieces) <= length:
        return "".join(pieces).rstrip()
    inside: Counter[str] = Counter()
    best, first, last_best = -1, 0, 0
    for last, new in enumerate(terms):
        if new:
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
