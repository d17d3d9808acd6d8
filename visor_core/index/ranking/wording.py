"""What a question says, read once: its terms, the phrases, years, dates and quarters, and the places it points at.

A term is a word cut to its first letters, so that inflected forms meet; scripts without spaces are cut into pairs of
characters. Fiscal years and quarters are written in many ways and become one: FY18, fiscal 2018 and 2018 are `2018`,
Q3, 3Q18 and third quarter are `q3`.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from dataclasses import dataclass

from visor_core.index.folding import folded, without_accents, words_of
from visor_core.index.passages import gram_length, mentioned_pages
from visor_core.index.ranking.numbers import scaled_numbers
from visor_core.index.terms import content_words

_STEM = 6
"""Letters of a word that are compared: inflection is at the end, compounds part later."""
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "1st": 1, "2nd": 2, "3rd": 3, "4th": 4}
_QUARTER = re.compile(
    r"\bq([1-4])(?=\b|[^a-z0-9])|\b([1-4])q(?=\d{2}|\b)|\b(first|second|third|fourth|1st|2nd|3rd|4th)[\s-]+quarter",
    re.I,
)
_FISCAL = re.compile(r"\b(?:fy|ar|fiscal|cy)[\s_'’-]*((?:19|20)?\d{2})(?:\s?[/–-]\s?(\d{2}))?(?!\d)", re.I)
_QUARTER_YEAR = re.compile(r"\b(?:[1-4]q|q[1-4])[\s_'’-]*((?:19|20)?\d{2})(?!\d)", re.I)
_YEAR = re.compile(r"(?<!\d)((?:19|20)\d{2})(?:\s?[/–-]\s?(\d{2}|(?:19|20)\d{2}))?(?!\d)")
_MONTHS = {
    name[:3]: number
    for number, names in enumerate(
        (
            "jan|gen|ene|янв",
            "feb|fév|fev|фев",
            "mar|mär|мар",
            "apr|avr|abr|апр",
            "may|mai|mag|май|мая",
            "jun|giu|июн",
            "jul|lug|июл",
            "aug|aoû|ago|авг",
            "sep|set|сен",
            "oct|okt|ott|out|окт",
            "nov|ноя",
            "dec|dez|déc|dic|дек",
        ),
        start=1,
    )
    for name in names.split("|")
}
_DATE = re.compile(
    r"\b(?:(?P<m1>[^\W\d_]{3,10})\.?\s+(?P<d1>\d{1,2}),?\s+(?P<y1>(?:19|20)\d{2})"
    r"|(?P<d2>\d{1,2})\.?\s+(?:de\s+)?(?P<m2>[^\W\d_]{3,10})\.?,?\s+(?:de\s+)?(?P<y2>(?:19|20)\d{2})"
    r"|(?P<y3>(?:19|20)\d{2})[-/年](?P<m3>\d{1,2})[-/月](?P<d3>\d{1,2}))"
)
_PLACE = re.compile(
    r"\b(figure|fig|table|section|appendix|chapter|exhibit|note|item|step|annex|box)\.?\s*(\d+(?:\.\d+)*[a-z]?|[a-h])\b",
    re.I,
)
_AMOUNT = re.compile(
    r"\b(how (much|many)|percent\w*|ratio|rate|total|average|amount|number of|margin|change|growth|share of|increase|"
    r"decrease|difference|highest|lowest|usd|eur|dollars?|million|billion|fy\d\d|"
    r"wie ?viel\w*|combien|cuánt\w+)\b|[%$€£¥]|多少|いくら",
    re.I,
)


def terms(text: str) -> list[str]:
    """The terms of a text in order, with numbers in one form.

    >>> terms("Total revenues: 1,577.0 (Q3)")
    ['total', 'revenu', '1577', 'q3']
    """
    return [term for word in words_of(folded(text)) for term in cut(word)]


@functools.lru_cache(maxsize=100_000)
def cut(word: str) -> tuple[str, ...]:
    """The terms of one folded word.

    >>> cut("revenues"), cut("净利润")
    (('revenu',), ('净利', '利润'))
    """
    if word.isdigit():
        return (word,)
    if gram_length(word):
        return tuple(word[i : i + 2] for i in range(max(1, len(word) - 1)))
    if len(word) > 3 and word[0].isalpha():
        word = without_accents(word)
        return ((word[:-1] if word.endswith("s") and not word.endswith("ss") else word)[:_STEM],)
    return (word,)


def years_of(text: str) -> set[int]:
    """Years that a text names, fiscal ones with two digits too.

    >>> sorted(years_of("FY18 and 2019/20, AR2015"))
    [2015, 2018, 2019, 2020]
    """
    found = set()
    text = text.replace("_", " ")
    for pattern in (_FISCAL, _QUARTER_YEAR, _YEAR):
        for match in pattern.finditer(text):
            for group in match.groups():
                if group:
                    found.add(int(group) if len(group) == 4 else 2000 + int(group) - 100 * (int(group) > 60))
    return found


def quarters_of(text: str) -> set[int]:
    """Quarters that a text names.

    >>> sorted(quarters_of("Q3 and the first quarter, 4Q18"))
    [1, 3, 4]
    """
    return {int(m[1] or m[2] or _ORDINALS[m[3].lower()]) for m in _QUARTER.finditer(text.replace("_", " "))}


def dates_of(text: str) -> set[tuple[int, int, int]]:
    """Days that a text names, as (year, month, day).

    >>> sorted(dates_of("the year ended December 31, 2018, or 31. Dezember 2018, or 2018-12-31"))
    [(2018, 12, 31)]
    """
    found = set()
    for match in _DATE.finditer(unicodedata.normalize("NFKC", text)):
        for i in "123":
            year, month, day = (match[f"{part}{i}"] for part in "ymd")
            number = None if month is None else int(month) if month.isdigit() else _MONTHS.get(month.lower()[:3])
            if year and number and 1 <= number <= 12 and 1 <= int(day) <= 31:
                found.add((int(year), number, int(day)))
    return found


@dataclass(frozen=True)
class Wording:
    """A question as the ranking reads it."""

    text: str
    words: tuple[str, ...]
    """Words that say something, lower case, in order."""
    terms: tuple[str, ...]
    """Terms of those words, each once."""
    pairs: tuple[tuple[str, str], ...]
    """Neighbouring terms of the whole question, of which one at least says something."""
    years: frozenset[int]
    quarters: frozenset[int]
    dates: frozenset[tuple[int, int, int]]
    numbers: tuple[str, ...]
    """Printed forms of its numbers with a scale."""
    places: tuple[tuple[str, ...], ...]
    """`figure 5`, `table 2`, `note 7` as terms."""
    pages: frozenset[int]
    amount: bool
    """Whether it asks for a figure."""


def read(question: str) -> Wording:
    """A question, read."""
    words = tuple(content_words(question))
    known = tuple(dict.fromkeys(term for word in words for term in terms(word)))
    said = terms(question)
    kept = set(known)
    pairs = tuple(dict.fromkeys((a, b) for a, b in itertools.pairwise(said) if a != b and (a in kept or b in kept)))
    return Wording(
        question,
        words,
        known,
        pairs,
        frozenset(years_of(question)),
        frozenset(quarters_of(question)),
        frozenset(dates_of(question)),
        tuple(scaled_numbers(question)),
        tuple(dict.fromkeys(tuple(terms(f"{m[1]} {m[2]}")) for m in _PLACE.finditer(question))),
        frozenset(mentioned_pages(question)),
        bool(_AMOUNT.search(question)),
    )


def also_asked(question: str) -> list[str]:
    """Words that say the same as parts of a question do in other writings: years, quarters, numbers with a scale.

    >>> also_asked("revenue in Q3 FY18, was it $1.5 billion?")
    ['2018', 'third', 'quarter', '1500000000', '1500000', '1500', '1.5']
    """
    said = set(terms(question))
    extra = [str(year) for year in sorted(years_of(question))]
    for quarter in sorted(quarters_of(question)):
        name = ("first", "second", "third", "fourth")[quarter - 1]
        extra += [f"q{quarter}"] if name in said else [name, "quarter"]
    extra += scaled_numbers(question)
    return [word for word in dict.fromkeys(extra) if word not in said]
