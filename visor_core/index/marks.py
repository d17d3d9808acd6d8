"""Where the words of a query stand in the words of a page: for snippets, and for boxes over the picture.

A word that spaces set apart is found by its beginning, so that other endings count, or whole in a compound; in scripts
without spaces, and in Hangul, any pair of the query's characters (Thai and its neighbours: triple) is, wherever it
stands in a run.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from visor_core.documents.reader import Word
from visor_core.index.folding import folded, words_of
from visor_core.index.passages import gram_length
from visor_core.index.terms import content_words

_PREFIX = 6
"""Characters two words must share at their start to count as the same term."""
_PART = 5
"""Characters of a word from which on it counts as part of a longer one."""
_LONG = 1.5
"""A run of characters this much higher than wide is written downwards."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What of a query is looked for: beginnings of words, parts of words, and grams of runs without spaces."""

    beginnings: frozenset[str]
    parts: frozenset[str]
    grams: frozenset[str]


@dataclass(frozen=True, slots=True)
class Mark:
    """Characters `start` to `end` of a word in which a term of the query stands."""

    start: int
    end: int
    term: str


def sought(query: str) -> Sought:
    """What a query looks for."""
    words = content_words(query)
    runs = [word for word in words if gram_length(word)]
    apart = [word for word in words if not gram_length(word)]
    return Sought(
        frozenset(word[:_PREFIX] for word in apart),
        frozenset(word for word in apart if len(word) >= _PART),
        frozenset(gram for run in runs for gram in _grams(run)),
    )


@functools.lru_cache(maxsize=65_536)
def _apart(word: str) -> tuple[str, ...] | None:
    """The folded words in a word of a page; None of one that is looked through by characters."""
    return None if gram_length(word) else tuple(words_of(folded(word)))


def marks(word: str, wanted: Sought) -> list[Mark]:
    """The marks in a word of a page, of one that spaces set apart the whole word.

    >>> marks("(Revenues)", sought("the revenue"))
    [Mark(start=0, end=10, term='revenu')]
    >>> marks("本年净利润增长", sought("净利"))
    [Mark(start=2, end=4, term='净利')]
    """
    apart = _apart(word)
    if apart is not None:
        terms = [_sought_in(term, wanted) for term in apart]
        return [Mark(0, len(word), term) for term in terms if term]
    found: list[Mark] = []
    plain, origins = _folded_by_character(word)
    for run in words_of(plain):
        if not gram_length(run) and (term := _sought_in(run, wanted)):
            start = plain.index(run)
            found.append(Mark(origins[start], origins[start + len(run) - 1] + 1, term))
    for gram in wanted.grams:
        start = plain.find(gram)
        while start >= 0:
            found.append(Mark(origins[start], origins[start + len(gram) - 1] + 1, gram))
            start = plain.find(gram, start + 1)
    return sorted(found, key=lambda mark: (mark.start, mark.end))


def _sought_in(word: str, wanted: Sought) -> str:
    """The beginning or the part that is looked for in a folded word; empty if there is none."""
    if word[:_PREFIX] in wanted.beginnings:
        return word[:_PREFIX]
    return next((part for part in wanted.parts if part in word), "") if len(word) > _PREFIX else ""


def boxes(words: Iterable[Word], query: str) -> list[tuple[float, float, float, float]]:
    """Page-normalised boxes of what a query looks for among the words of a page, in their order."""
    wanted = sought(query)
    return [
        part_box(word, start, end) for word in words for start, end in _joined(marks(word.text, wanted), len(word.text))
    ]


def part_box(word: Word, start: int, end: int) -> tuple[float, float, float, float]:
    """The box of some characters of a word, by the width that each takes: none, one or two halves of a square.

    >>> part_box(Word("ab净利xy", 0.0, 0.5, 1.0, 0.6), 2, 3)
    (0.25, 0.5, 0.5, 0.6)
    """
    widths = [_width(character) for character in word.text]
    total = sum(widths) or 1
    first, last = sum(widths[:start]) / total, sum(widths[:end]) / total
    if word.y1 - word.y0 > _LONG * (word.x1 - word.x0) and len(word.text) > 1:
        high = word.y1 - word.y0
        return word.x0, word.y0 + first * high, word.x1, word.y0 + last * high
    wide = word.x1 - word.x0
    return word.x0 + first * wide, word.y0, word.x0 + last * wide, word.y1


def _joined(found: list[Mark], length: int) -> Iterator[tuple[int, int]]:
    """Marks that touch as one."""
    covered = [False] * (length + 1)
    for mark in found:
        covered[mark.start : mark.end] = [True] * (mark.end - mark.start)
    start = -1
    for position, inside in enumerate(covered):
        if inside and start < 0:
            start = position
        elif not inside and start >= 0:
            yield start, position
            start = -1


def _grams(run: str) -> list[str]:
    length = gram_length(run)
    return [run[start : start + length] for start in range(max(1, len(run) - length + 1))]


def _folded_by_character(word: str) -> tuple[str, list[int]]:
    """A word folded, and for each character of the result the one it came from."""
    pieces = [folded(character) for character in word]
    return "".join(pieces), [number for number, piece in enumerate(pieces) for _ in piece]


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
