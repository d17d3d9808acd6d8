"""Reading order: blocks of words → one sequence in which a heading precedes its paragraph and columns stay whole.

A recursive XY cut (Nagy and Seth 1984): a set of blocks is cut at a column gutter if it has one; otherwise it is cut
into horizontal strips, and neighbouring strips that share a gutter are joined again, so that columns whose paragraphs
happen to align are not read across; those of a table are (`tables`). The columns of a page in a right-to-left script
begin at the right. Leaves out: text that flows around a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visor_core.documents.bidi import has_right_to_left
from visor_core.documents.reader import Word
from visor_core.documents.tables import table_rows

_GUTTER = 0.012
"""Narrowest column gutter, as a share of the page's width."""
_MAX_BLOCKS = 1500
"""A page of more blocks (a map, a scatter of labels) is read row by row."""


@dataclass(frozen=True, slots=True)
class _Block:
    words: tuple[Word, ...]
    x0: float
    y0: float
    x1: float
    y1: float


def reading_order(blocks: Sequence[Sequence[Word]]) -> list[list[Word]]:
    """Blocks in reading order; the words inside a block keep their order."""
    mirrored = _right_to_left(blocks)
    boxed = [_boxed(words, mirrored=mirrored) for words in blocks if words]
    if len(boxed) > _MAX_BLOCKS:
        return [list(b.words) for b in _rows(boxed)]
    return [list(b.words) for b in _cut(boxed, 0, mirrored=mirrored)]


def _right_to_left(blocks: Sequence[Sequence[Word]]) -> bool:
    """Whether most words with letters are of a right-to-left script."""
    words = [word.text for block in blocks for word in block if any(map(str.isalpha, word.text))]
    return 2 * sum(map(has_right_to_left, words)) > len(words)


def _boxed(words: Sequence[Word], *, mirrored: bool) -> _Block:
    """A block with its box, in a mirror if so: what is read from the right is cut as what is read from the left."""
    x0, x1 = min(w.x0 for w in words), max(w.x1 for w in words)
    if mirrored:
        x0, x1 = 1.0 - x1, 1.0 - x0
    return _Block(tuple(words), x0, min(w.y0 for w in words), x1, max(w.y1 for w in words))


def _cut(blocks: list[_Block], depth: int, *, mirrored: bool) -> list[_Block]:
    if len(blocks) < 2:
        return blocks
    if depth > 40:
        return _rows(blocks)
    columns = _split(blocks, lambda b: (b.x0, b.x1), _GUTTER)
    if len(columns) > 1:
        rows = table_rows([[b.words for b in column] for column in columns], right_to_left=mirrored)
        if rows is not None:
            return [_boxed(row, mirrored=mirrored) for row in rows]
        return [b for column in columns for b in _cut(column, depth + 1, mirrored=mirrored)]
    strips = _split(blocks, lambda b: (b.y0, b.y1), 0.0)
    if len(strips) == 1:
        return _rows(blocks)
    joined: list[list[_Block]] = []
    for strip in strips:
        together = joined[-1] + strip if joined else []
        if (
            joined
            and len(_split(joined[-1], lambda b: (b.x0, b.x1), _GUTTER)) > 1
            and len(_split(together, lambda b: (b.x0, b.x1), _GUTTER)) > 1
        ):
            joined[-1] = together
        else:
            joined.append(list(strip))
    if len(joined) == 1:
        return _rows(blocks)
    return [b for group in joined for b in _cut(group, depth + 1, mirrored=mirrored)]


def _split(blocks: Sequence[_Block], extent: Callable[[_Block], tuple[float, float]], gap: float) -> list[list[_Block]]:
    """Groups of blocks separated by more than `gap` along one axis, in order of that axis."""
    groups: list[list[_Block]] = []
    end = float("-inf")
    for block in sorted(blocks, key=extent):
        low, high = extent(block)
        # Text lines overlap by a hair of leading; a tenth of their extent does not join two strips.
        if not groups or low - end >= gap - min(0.1 * (high - low), 0.004) * (gap == 0.0):
            groups.append([])
        groups[-1].append(block)
        end = max(end, high)
    return groups


def _rows(blocks: Sequence[_Block]) -> list[_Block]:
    """Top to bottom, then left to right, by the block's upper left corner."""
    return sorted(blocks, key=lambda b: (round(b.y0, 2), b.x0, b.y0))


def text_of(blocks: Sequence[Sequence[Word]]) -> str:
    """Plain text: a line a block, words separated by one space."""
    return "\n".join(" ".join(word.text for word in block) for block in blocks)
