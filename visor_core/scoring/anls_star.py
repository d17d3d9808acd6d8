"""ANLS* of an answer that may be several values, as MADQA scores it.

Source: ANLS* (Peer et al., arXiv 2402.03848) for lists of strings, and its use by `eval/metrics.py` of
github.com/OxRML/MADQA: letters of either case are the same, the best of the accepted variants counts, and a score of at
least `RIGHT` is a right answer. Values are paired so that their similarities add up to the most; what has no partner,
wanted or not, counts as 0. Left out: its trees of dictionaries and its judgement by a language model.
"""

from __future__ import annotations

from collections.abc import Sequence

from visor_core.scoring.lists import items_of
from visor_core.scoring.mmlongbench import edit_distance

RIGHT = 0.5
"""The score from which MADQA counts an answer as right; also the similarity below which two values have nothing in
common."""


def similarity(wanted: str, given: str) -> float:
    """1 − edit distance over the longer length, white space and case aside; 0 below `RIGHT`.

    >>> similarity("Kent", "kent "), similarity("ab", "ax"), similarity("abc", "xyz")
    (1.0, 0.5, 0.0)
    """
    left, right = (" ".join(text.lower().split()) for text in (wanted, given))
    longest = max(len(left), len(right))
    found = 1.0 - edit_distance(left, right) / longest if longest else 1.0
    return found if found >= RIGHT else 0.0


def anls_star(wanted: Sequence[str], given: Sequence[str]) -> float:
    """ANLS* of two lists of values, in any order; 1 for two empty ones."""
    from scipy.optimize import linear_sum_assignment  # half a second, which no other answer is to wait for

    if not wanted or not given:
        return float(not wanted and not given)
    table = [[similarity(left, right) for right in given] for left in wanted]
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(sum(table[row][column] for row, column in zip(rows, columns, strict=True))) / max(
        len(wanted), len(given)
    )


def madqa_score(variants: Sequence[str], answer: str) -> float:
    """The best ANLS* of an answer over the accepted variants; several values are written as a list is.

    >>> madqa_score(("['spell out', 'use numbers']", "words"), "['use numbers', 'spell out']")
    1.0
    """
    given = items_of(answer)
    return max((anls_star(items_of(variant), given) for variant in variants), default=0.0)
