"""Lines with right-to-left letters in the order they are read, worked out from where the characters stand.

A PDF may hold such a line in the order of writing or in that of the paper, and each renderer guesses which; only the
places of the glyphs are sure. Characters are taken from left to right, cut into words at gaps, and turned by a reduced
form of Unicode's bidirectional algorithm (UAX 9): letters from right to left, numbers and words of other scripts as
they stand, runs of them as one. Leaves out lines that are turned or written downwards, and brackets' mirroring.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from visor_core.documents.reader import Word

RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
"""Letters of Hebrew, Arabic and their neighbours, digits and points among them."""
_ENDS = frozenset(".,:;!?\u060c\u061b\u061f")
_GAP = 0.15
"""Share of a line's height that two characters of a word are at most apart."""


def has_right_to_left(text: str) -> bool:
    """Whether a text holds letters that are read from right to left."""
    return not text.isascii() and RIGHT_TO_LEFT.search(text) is not None


def lines_of(characters: Sequence[Word]) -> list[list[Word]]:
    """Characters by line, from top to bottom; a character and its marks are on one line."""
    lines: list[tuple[float, float, list[Word]]] = []
    for character in characters:
        middle = (character.y0 + character.y1) / 2
        for number, (top, bottom, held) in enumerate(lines):
            if top <= middle <= bottom:
                held.append(character)
                lines[number] = min(top, character.y0), max(bottom, character.y1), held
                break
        else:
            lines.append((character.y0, character.y1, [character]))
    return [held for _, _, held in sorted(lines, key=lambda line: line[0] + line[1])]


def words_in_line(characters: Sequence[Word], aspect: float = 1.0) -> list[Word]:
    """The words of a line, as they are read.

    Args:
        characters: those of the line in any order, spaces among them, each with its box.
        aspect: width of the page by its height: boxes are shares of each.
    """
    seen = [c for c in characters if not c.text.isspace()]
    clusters = _clusters(seen)
    if not clusters:
        return []
    height = max(c[0].y1 for c in clusters) - min(c[0].y0 for c in clusters)
    spaces = [(c.x0 + c.x1) / 2 for c in characters if c.text.isspace() and c.x1 > c.x0]
    words: list[list[list[Word]]] = [[clusters[0]]]
    for before, cluster in pairwise(clusters):
        end, start = before[0].x1, cluster[0].x0
        apart = (start - end) * aspect > _GAP * height
        between = any((before[0].x0 + end) / 2 < space < (start + cluster[0].x1) / 2 for space in spaces)
        if apart or between:
            words.append([])
        words[-1].append(cluster)
    right = _reads_from_right(words)
    return [_as_read(word, right) for word in _ordered(words, right)]


def _clusters(characters: Sequence[Word]) -> list[list[Word]]:
    """Characters from left to right, each letter with its marks, which lie over it."""
    bases = sorted((c for c in characters if not _is_mark(c)), key=lambda c: (c.x0 + c.x1, c.x0))
    clusters = [[c] for c in bases]
    for mark in (c for c in characters if _is_mark(c)):
        middle = (mark.x0 + mark.x1) / 2
        if clusters:
            min(clusters, key=lambda c: max(c[0].x0 - middle, middle - c[0].x1, 0.0)).append(mark)
    return clusters


def _is_mark(character: Word) -> bool:
    return bool(character.text) and all(unicodedata.category(c) in ("Mn", "Me") for c in character.text)


def _reads_from_right(words: list[list[list[Word]]]) -> bool:
    """Whether most letters of a line are read from right to left."""
    letters = "".join(cluster[0].text for word in words for cluster in word)
    return 2 * len(RIGHT_TO_LEFT.findall(letters)) > sum(c.isalpha() for c in letters)


def _ordered(words: list[list[list[Word]]], reversed_line: bool) -> list[list[list[Word]]]:
    """Words from left to right → as they are read, by the direction of their line."""
    runs = [list(run) for _, run in groupby(words, key=lambda word: _turns(word, reversed_line))]
    if reversed_line:
        runs.reverse()
    ordered: list[list[list[Word]]] = []
    for run in runs:
        ordered += reversed(run) if _turns(run[0], reversed_line) else run
    return ordered


def _turns(word: list[list[Word]], reversed_line: bool) -> bool:
    """Whether a word stands in a run from right to left; one without letters follows its line."""
    text = "".join(cluster[0].text for cluster in word)
    letters = [c for c in text if c.isalpha()]
    return bool(RIGHT_TO_LEFT.search("".join(letters))) if letters else reversed_line


def _as_read(word: list[list[Word]], reversed_line: bool) -> Word:
    """A word of clusters from left to right, with its characters as they are read."""
    pieces = list(_pieces(word))
    if reversed_line and not any(c.isalpha() for cluster in word for c in cluster[0].text):
        # What ends a number stands to the left of it in such a line.
        before = next((n for n, piece in enumerate(pieces) if piece[0][0].text not in _ENDS), 0)
        pieces = [*pieces[before:], *pieces[:before]]
    if any(RIGHT_TO_LEFT.search(c.text) and any(map(str.isalpha, c.text)) for cluster in word for c in cluster):
        pieces.reverse()
    characters = [c for piece in pieces for cluster in piece for c in cluster]
    return Word(
        "".join(c.text for c in characters),
        min(c.x0 for c in characters),
        min(c.y0 for c in characters),
        max(c.x1 for c in characters),
        max(c.y1 for c in characters),
    )


def _pieces(word: list[list[Word]]) -> Iterator[list[list[Word]]]:
    """Parts of a word that keep their order: numbers with their points and signs, letters of other scripts; any other
    cluster stands alone."""
    kept: list[list[Word]] = []
    for number, cluster in enumerate(word):
        follows = word[number + 1][0].text if number + 1 < len(word) else ""
        if _keeps_order(cluster[0].text) or (kept and cluster[0].text in ".,:/'’" and _keeps_order(follows)):
            kept.append(cluster)
            continue
        if kept:
            yield kept
            kept = []
        yield [cluster]
    if kept:
        yield kept


def _keeps_order(text: str) -> bool:
    """Whether characters are read from left to right: digits of every script, and letters of most."""
    return bool(text) and (text[0].isdigit() or (text[0].isalpha() and not RIGHT_TO_LEFT.search(text)))
