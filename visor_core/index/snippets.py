"""A few words of a page around where a query's terms stand closest."""

from __future__ import annotations

from collections import Counter

from visor_core.index.passages import content_words

_PREFIX = 6
"""Characters two words must share at their start to count as the same term."""


def snippet(text: str, query: str, length: int = 30) -> str:
    """Up to `length` words of `text`: the window with the most different terms of `query`, the first such."""
    words = text.split()
    if len(words) <= length:
        return " ".join(words)
    terms = {word[:_PREFIX] for word in content_words(query)}
    marks = [word.lower().strip("().,:;\"'“”")[:_PREFIX] for word in words]
    inside: Counter[str] = Counter()
    best, best_start = -1, 0
    for end, mark in enumerate(marks):
        if mark in terms:
            inside[mark] += 1
        start = end - length + 1
        if start > 0 and marks[start - 1] in terms:
            inside[marks[start - 1]] -= 1
            if not inside[marks[start - 1]]:
                del inside[marks[start - 1]]
        if start >= 0 and len(inside) > best:
            best, best_start = len(inside), start
    cut = " ".join(words[best_start : best_start + length])
    return f"{'… ' if best_start else ''}{cut}{' …' if best_start + length < len(words) else ''}"
