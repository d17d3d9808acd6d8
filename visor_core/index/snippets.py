"""A few words of a page around where a query's terms stand closest."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+")


def snippet(text: str, query: str, length: int = 30) -> str:
    """Up to `length` words of `text`, the window with the most different terms of `query` (the first such)."""
    words = text.split()
    if not words:
        return ""
    terms = {w[:6] for w in _WORD.findall(query.lower()) if len(w) > 2}
    marks = [{m[:6] for m in _WORD.findall(word.lower())} & terms for word in words]
    best, best_start = -1.0, 0
    for start in range(max(1, len(words) - length + 1)):
        window = marks[start : start + length]
        score = len(set().union(*window)) + 0.01 * sum(bool(m) for m in window)
        if score > best:
            best, best_start = score, start
    cut = " ".join(words[best_start : best_start + length])
    return f"{'… ' if best_start else ''}{cut}{' …' if best_start + length < len(words) else ''}"
