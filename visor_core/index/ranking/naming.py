"""Which documents a question names: by the words of their file names, titles, covers and running headers.

A term counts by how few documents carry it, and by where it stands there: what people call a document is in its name
before it is on its cover. Names are written together and apart (`BESTBUY_2023_10K.pdf`, "Best Buy"), so neighbouring
words are tried as one, and capitalised ones by their initials. Everything is kept in memory, a few hundred bytes a
document; leaves out what the pages say, which the rankings of pages read.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from visor_core.index.ranking.wording import Wording, dates_of, quarters_of, terms, years_of

PLACES: Mapping[str, float] = {"file": 1.0, "title": 1.0, "cover": 0.8, "header": 0.8, "front": 0.5}
"""How much a term says of a document by where it stands; `front` is the text below the cover's heading."""
_LONGEST_JOIN = 4
"""Words of a name that may be written as one."""
_MOST_NAMED = 6
"""Documents that a question is taken to name at most: the years of one company, not a shelf."""
_NEAR = 0.75
"""Share of the best document's score above which another is named too."""
_FEWEST = 0.45
"""Score of the best document, as a share of that of one term which a single document carries, from which on it is
taken to be named."""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z]{3})")
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Named:
    """A document that a question names; `share` is its score over the best one's, 0–1."""

    document_id: str
    share: float


class DocumentNames:
    """The names of all documents of an index."""

    def __init__(self, documents: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        """Args:
        documents: (document id, text by the places of `PLACES`).
        """
        self._ids: list[str] = []
        self._postings: dict[str, tuple[array[int], array[float]]] = {}
        for document_id, texts in documents:
            number = len(self._ids)
            self._ids.append(document_id)
            carried: dict[str, float] = {}
            for place, text in texts.items():
                for term in _carried(place, text):
                    carried[term] = max(carried.get(term, 0.0), PLACES[place])
            for term, weight in carried.items():
                numbers, weights = self._postings.setdefault(term, (array("i"), array("f")))
                numbers.append(number)
                weights.append(weight)

    def scores(self, question: Wording) -> dict[str, float]:
        """Documents that share a name or a time with a question, scored: 1 is one word that a single document has.

        A word counts once, by the rarest of what it is part of: itself, words written together, initials.
        """
        found: dict[int, dict[int, float]] = {}
        one = self._rarity(1)
        for term, places in _asked(question, self._postings):
            numbers, weights = self._postings[term]
            rarity = self._rarity(len(numbers)) / one
            if rarity > 0:
                for number, weight in zip(numbers, weights, strict=True):
                    counted = found.setdefault(number, {})
                    for place in places:
                        counted[place] = max(counted.get(place, 0.0), rarity * weight)
        return {self._ids[number]: sum(counted.values()) for number, counted in found.items()}

    def named(self, question: Wording) -> list[Named]:
        """The documents that a question names, best first; none where it names none or too many alike."""
        scored = sorted(self.scores(question).items(), key=lambda pair: (-pair[1], pair[0]))
        if len(self._ids) < 2 or not scored or scored[0][1] < _FEWEST:
            return []
        near = [(i, score / scored[0][1]) for i, score in scored if score >= _NEAR * scored[0][1]]
        return [Named(i, share) for i, share in near] if len(near) <= _MOST_NAMED else []

    def _rarity(self, carriers: int) -> float:
        """What a term says that `carriers` documents carry; nothing if half of them do."""
        total = len(self._ids)
        return max(0.0, math.log((total + 1.0) / (carriers + 0.5)) - (math.log(2.0) if total > 3 else 0.0))


def file_words(filename: str) -> str:
    """A file's name as words: without its ending, cut where words and numbers meet.

    >>> file_words("AcmeCo_AR2018-final.pdf")
    'Acme Co AR 2018 final'
    """
    stem = re.sub(r"[_\W]+", " ", PurePath(filename).stem.replace("_", " "))
    return " ".join(_CAMEL.sub(" ", stem).split())


def _carried(place: str, text: str) -> set[str]:
    """The terms that a document carries by one of its texts."""
    found = _plain(text) | _moments(text)
    if place != "front":
        words = _WORD.findall(text)
        found |= {f"={joined}" for joined, _ in _joined(words)} | {initials for initials, _ in _initials(words)}
    if place == "file":
        found |= _carried("title", file_words(text))
    return found


def _asked(question: Wording, known: Mapping[str, object]) -> list[tuple[str, Sequence[int]]]:
    """The terms by which a question may name a document, each with the places in the question that it stands for.

    A day stands for its year; years, quarters and days are counted apart, at places below zero.
    """
    words = _WORD.findall(question.text)
    content = set(question.words)
    found: list[tuple[str, Sequence[int]]] = []
    for place, word in enumerate(words):
        if word.lower() in content:
            found += [(term, (place,)) for term in terms(word) if not _is_year(term)]
    found += [(f"={joined}", places) for joined, places in _joined(words)]
    found += _initials(words)
    settled = {date[0] for date in question.dates if _day(date) in known}
    moments = [_day(date) for date in sorted(question.dates)]
    moments += [f"year {year}" for year in sorted(question.years - settled)]
    moments += [f"quarter {quarter}" for quarter in sorted(question.quarters)]
    found += [(moment, (-1 - number,)) for number, moment in enumerate(moments)]
    return [(term, places) for term, places in found if term in known]


def _plain(text: str) -> set[str]:
    return {term for term in terms(text) if not _is_year(term)}


def _moments(text: str) -> set[str]:
    """Years, quarters and days as terms."""
    return (
        {f"year {year}" for year in years_of(text)}
        | {f"quarter {quarter}" for quarter in quarters_of(text)}
        | {_day(date) for date in dates_of(text)}
    )


def _day(date: tuple[int, int, int]) -> str:
    return "day {}-{}-{}".format(*date)


def _is_year(term: str) -> bool:
    return len(term) == 4 and term.isdigit() and term[:2] in ("19", "20")


def _joined(words: Sequence[str]) -> Iterator[tuple[str, Sequence[int]]]:
    """Up to four neighbouring words as one, with their places; "and" and the s of a possessive are passed over."""
    kept = [(place, word.lower()) for place, word in enumerate(words) if word.lower() not in ("and", "s")]
    for start in range(len(kept)):
        for end in range(start + 1, min(len(kept), start + _LONGEST_JOIN) + 1):
            whole = "".join(word for _, word in kept[start:end])
            if len(whole) > 3 and not whole.isdigit():
                yield whole, [place for place, _ in kept[start:end]]


def _initials(words: Sequence[str]) -> Iterator[tuple[str, Sequence[int]]]:
    """The first letters of two to five capitalised words in a row, with their places."""
    for start in range(len(words)):
        for end in range(start + 2, min(len(words), start + 5) + 1):
            if not all(word[0].isupper() for word in words[start:end]):
                break
            yield "".join(word[0] for word in words[start:end]).lower(), range(start, end)


def places_of(row: Mapping[str, object]) -> dict[str, str]:
    """The texts of a row of the table documents that name it, by the places of `PLACES`."""
    return {
        "file": str(row["filename"] or ""),
        "title": str(row["title"] or ""),
        "cover": str(row["cover"] or ""),
        "header": str(row["header"] or ""),
        "front": str(row["front"] or ""),
    }


__all__: Sequence[str] = ("PLACES", "DocumentNames", "Named", "file_words", "places_of")
