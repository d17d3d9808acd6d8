"""Answers that are several values, written as a list is. Nothing of them is run as code."""

from __future__ import annotations

import ast

LONGEST = 4_000
"""Characters of an answer beyond which it is neither taken apart nor looked for."""


def items_of(answer: str) -> list[str]:
    """The items of an answer: those of a list that is written as one, else the answer itself.

    >>> items_of("['White', '10%']"), items_of("White, 10%")
    (['White', '10%'], ['White, 10%'])
    """
    text = answer.strip()
    if text.startswith("[") and text.endswith("]") and len(text) <= LONGEST:
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [text]
        return [str(item) for item in found] if isinstance(found, list) else [text]
    return [text]
