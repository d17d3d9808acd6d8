"""Lines read from right to left, worked out from where their characters stand."""

from __future__ import annotations

import pytest

from visor_core.documents.bidi import words_in_line
from visor_core.documents.reader import Word


def _line(seen: str) -> list[Word]:
    """The characters of a line as they stand on paper, from left to right."""
    return [Word(c, 0.01 * n, 0.1, 0.01 * (n + 1), 0.12) for n, c in enumerate(seen)]


@pytest.mark.parametrize(
    ("seen", "read"),
    [
        ("תוסנכה :2019 יתנש", "שנתי 2019: הכנסות"),
        (".47 ולע תוסנכהה", "ההכנסות עלו 47."),
        ("1,577.50 ולע", "עלו 1,577.50"),
        ("47% ולע", "עלו 47%"),
        ("revenue 2019: 47.", "revenue 2019: 47."),
        ("2019: income תנש", "2019: income שנת"),
    ],
)
def test_words_are_in_the_order_of_reading(seen: str, read: str) -> None:
    found = words_in_line(_line(seen))
    assert " ".join(word.text for word in found) == read
    assert all(word.x1 > word.x0 for word in found)
