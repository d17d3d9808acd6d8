"""What full text search reads: overlapping windows of a page's words, and the whole page as normalised words.

Windows find a long page by a few of its lines; they are searched by stemmed words. The whole page, with the words that
say which document it belongs to, is searched by character 5-grams of its words, which forgive inflection, compounds and
misread characters: on real reports the single best ranking (tests/benchmarks/bench_recall.py).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from visor_core.index.ranking.numbers import with_plain_numbers

_WORD = re.compile(r"[^\W_]+")
_STOP = frozenset(
    _WORD.findall(
        "a an and are as at be by did do does for from has have how in is it its of on or than that the their then "
        "there these this those to was were what when where which who why will with"
    )
)


def windows(words: Sequence[str], size: int, overlap: int) -> list[str]:
    """Windows of `size` words, neighbours sharing `overlap`; the last one is full, reaching back if it must.

    >>> windows("a b c d e".split(), 3, 1)
    ['a b c', 'c d e']
    >>> windows("a b c d".split(), 3, 1)
    ['a b c', 'b c d']
    """
    if not words:
        return []
    step = max(1, size - overlap)
    starts = list(range(0, max(1, len(words) - size + 1), step))
    if starts[-1] + size < len(words):
        starts.append(len(words) - size)
    return [" ".join(words[start : start + size]) for start in starts]


def normalised(text: str) -> str:
    """Lower-case words, one space around each, so that an n-gram knows where a word begins and ends.

    >>> normalised("Net-revenue (2023)")
    ' net revenue 2023 '
    """
    return f" {' '.join(_words(text))} "


def content_words(query: str) -> list[str]:
    """The words of a query that say something; all of them if none does.

    >>> content_words("What is the net revenue?")
    ['net', 'revenue']
    """
    words = _words(query)
    return [w for w in words if w not in _STOP] or words


def _words(text: str) -> list[str]:
    """Lower-case words; a decomposed letter (NFD) would be cut at its accent."""
    return _WORD.findall(unicodedata.normalize("NFC", with_plain_numbers(text)).lower())


def mentioned_pages(query: str) -> set[int]:
    """Page numbers a query names.

    >>> sorted(mentioned_pages("the chart on page 5 and slide 12"))
    [5, 12]
    """
    return {int(n) for n in re.findall(r"\b(?:page|slide|p\.)\s*([0-9]{1,5})\b", query.lower())}


def passage_key(content_hash: str, context: str, size: int, overlap: int) -> str:
    """What decides a page's passages; a page whose passages carry another key gets new ones."""
    return hashlib.sha256(f"3 {content_hash} {context} {size} {overlap}".encode()).hexdigest()[:16]
