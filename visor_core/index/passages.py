"""Passages: overlapping windows of a page's words, so that a long page is found by a few of its lines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


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


def passage_key(content_hash: str, context: str, size: int, overlap: int) -> str:
    """What decides a page's passages; a page whose passages carry another key gets new ones."""
    return hashlib.sha256(f"1 {content_hash} {context} {size} {overlap}".encode()).hexdigest()[:16]
