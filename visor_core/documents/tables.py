"""Columns that are a table's: labels and the numbers beside them, which are read row by row.

A page is cut at its gutters, and a table has gutters between its columns. Read column by column a number would stand
far from what it is of. Leaves out: tables of words, and rules that are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from visor_core.documents.reader import Word

_NUMBERS = 0.6
"""Least share of the words right of the labels that are numbers, signs of money or marks for none."""
_BESIDE = 0.7
"""Least share of the rows of numbers that have a label at their height."""
_FEWEST_ROWS = 3
_MARKS = frozenset("$€£¥%—–-()*·")


def table_rows(columns: Sequence[Sequence[Sequence[Word]]], *, right_to_left: bool = False) -> list[list[Word]] | None:
    """The rows of a table, each a label and its numbers; None where the columns are none of a table.

    Args:
        columns: groups of words side by side, in reading order: the labels come first.
        right_to_left: whether a row begins at the right.
    """
    words = [[word for block in column for word in block] for column in columns]
    numbers = [word for column in words[1:] for word in column]
    if not numbers or not words[0] or sum(map(_is_number, numbers)) < _NUMBERS * len(numbers):
        return None
    if sum(map(_is_number, words[0])) >= _NUMBERS * len(words[0]):
        return None
    rows = _rows([word for column in words for word in column])
    labels = {id(word) for word in words[0]}
    figures = [row for row in rows if any(id(word) not in labels and _is_number(word) for word in row)]
    beside = sum(any(id(word) in labels for word in row) for row in figures)
    if len(figures) < _FEWEST_ROWS or beside < _BESIDE * len(figures):
        return None
    return [sorted(row, key=lambda word: -word.x1 if right_to_left else word.x0) for row in rows]


def _is_number(word: Word) -> bool:
    return any(c.isdigit() for c in word.text) or all(c in _MARKS for c in word.text)


def _rows(words: Sequence[Word]) -> list[list[Word]]:
    """Words by line: a word belongs to the line whose height its middle lies in."""
    height = median(word.y1 - word.y0 for word in words)
    rows: list[list[Word]] = []
    middle = float("-inf")
    for word in sorted(words, key=lambda word: (word.y0 + word.y1) / 2):
        own = (word.y0 + word.y1) / 2
        if own - middle > height / 2:
            rows.append([])
        rows[-1].append(word)
        middle = sum((w.y0 + w.y1) / 2 for w in rows[-1]) / len(rows[-1])
    return rows
