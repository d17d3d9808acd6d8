"""Whether pages are found by words of their own: the test of a full-text index that knows no questions.

A page's own words are those of it that the fewest pages share, so that a running header, which stands on every page,
does not decide. Pages with the very same words cannot be told apart, and finding one is finding the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

WINDOW = 12
"""Words of a query."""


def own_words(text: str, pages_with: Mapping[str, int], length: int = WINDOW) -> str:
    """The `length` words in a row of a page that stand on the fewest pages; the first of equals.

    >>> own_words("Annual Report rain in Spain", {"annual": 9, "report": 9, "rain": 1, "in": 3, "spain": 1}, 3)
    'rain in spain'
    """
    words = text.lower().split()
    counts = [pages_with[word] for word in words]
    starts = range(max(1, len(words) - length + 1))
    best = min(starts, key=lambda start: sum(counts[start : start + length]))
    return " ".join(words[best : best + length])


def share_found(
    pages: Iterable[tuple[str, str]], search: Callable[[str], Sequence[str]], *, tried: int
) -> tuple[float, int]:
    """Share of a sample of pages that a search for their own words finds, and the size of the sample.

    Args:
        pages: (page id, text); those without text are left out.
        search: page ids that are found first for some words.
        tried: pages of the sample, evenly spread.
    """
    texts = {page_id: " ".join(text.lower().split()) for page_id, text in pages if text.strip()}
    pages_with = Counter(word for text in texts.values() for word in set(text.split()))
    sample = list(texts)[:: max(1, len(texts) // tried)][:tried]
    found = 0
    for page_id in sample:
        asked = own_words(texts[page_id], pages_with)
        found += any(hit == page_id or asked in texts.get(hit, "") for hit in search(asked))
    return found / len(sample) if sample else 1.0, len(sample)
