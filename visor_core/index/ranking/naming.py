"""Which documents a question names: by the words of their file names, titles, covers and running headers.

A term counts by how few documents carry it, by where it stands there (what people call a document is in its name before
it is on its cover), and by whether the pages that were found with it are those documents' pages: "Acme" is a name,
"report" is on every page. Names are written together and apart (`BESTBUY_2023_10K.pdf`, "Best Buy"), so neighbouring
words are tried as one, and capitalised ones by their initials. Years, quarters and days tell one company's documents
apart. Everything is kept in memory, a few hundred bytes a document.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from visor_core.index.ranking.wording import Wording, dates_of, quarters_of, terms, years_of

PLACES: Mapping[str, float] = {"file": 1.0, "title": 1.0, "cover": 0.8, "header": 0.8, "front": 0.3}
"""How much a term says of a document by where it stands; `front` is the text below the cover's heading."""
_LONGEST_JOIN = 4
"""Words of a name that may be written as one."""
_MOST_NAMED = 6
"""Documents that a question is taken to name at most: the years of one company, not a shelf."""
_NEAR = 0.75
"""Share of the best document's score above which another is named too."""
_FEWEST = 0.6
"""Score from which on a document is taken to be named: 1 is a word of the name of a single document."""
_SURE = 1.5
"""Score from which on there is no doubt."""
_SMALL = 0.6
"""What a word counts for that the question does not write as a name, with a capital or a digit."""
_EARLIER = 0.7
"""What an asked year counts for that is not the latest: a report has the year before beside its own."""

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z]{3})")
_WORD = re.compile(r"[^\W_]+")


Sought = tuple[str, Sequence[int], float, str]
"""A term that documents may carry, the places in the question that it stands for, what it counts for, and the term by
which it stands on pages, if that is known."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a question says of documents, 0–1 by document id; a document that is not there has 0."""

    meant: dict[str, float]
    """Those it names, by how surely, best first."""
    time: dict[str, float]
    """Those of a year, quarter or day that it asks for, by the share of them and where they stand."""


UNNAMED = Named({}, {})
"""What a question says that is asked of one document alone."""


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

    def named(self, question: Wording, seen: Sequence[tuple[str, frozenset[str]]]) -> Named:
        """The documents that a question names.

        Args:
            question: as read.
            seen: document ids and terms of the pages that the question found first.
        """
        words = _WORD.findall(question.text)
        names = self._scores(_names_asked(question, words), self._tellings(seen))
        time = self._scores(_moments_asked(question, self._postings), lambda *_: 1.0)
        asked = len(question.quarters) + len(question.years | {date[0] for date in question.dates})
        timely = {number: min(1.0, score / max(1, min(2, asked))) for number, score in time.items()}
        best = max(names.values(), default=0.0)
        meant: list[int] = []
        if best >= _FEWEST and len(self._ids) > 1:
            meant = [number for number, score in names.items() if score >= _NEAR * best]
            latest = max(timely.get(number, 0.0) for number in meant)
            meant = [number for number in meant if timely.get(number, 0.0) >= _NEAR * latest]
        sure = min(1.0, best / _SURE)
        order = sorted(meant, key=lambda number: (-names[number], -timely.get(number, 0.0), self._ids[number]))
        return Named(
            {self._ids[n]: sure * names[n] / best for n in order} if len(order) <= _MOST_NAMED else {},
            {self._ids[number]: score for number, score in timely.items()},
        )

    def _scores(self, asked: Sequence[Sought], telling: Callable[[str, str], float]) -> dict[int, float]:
        """Documents that carry asked terms, scored by number.

        A word of the question counts once, by what tells most of what it is part of: itself, words written together,
        initials.
        """
        found: dict[int, dict[int, float]] = {}
        for term, places, counts, on_pages in asked:
            if term not in self._postings:
                continue
            numbers, weights = self._postings[term]
            tells = counts * telling(term, on_pages)
            if tells > 0:
                for number, weight in zip(numbers, weights, strict=True):
                    counted = found.setdefault(number, {})
                    for place in places:
                        counted[place] = max(counted.get(place, 0.0), tells * weight)
        return {number: sum(counted.values()) for number, counted in found.items()}

    def _tellings(self, seen: Sequence[tuple[str, frozenset[str]]]) -> Callable[[str, str], float]:
        """How much a term tells: its rarity among documents, and how far its pages are those of its carriers."""
        one = self._rarity(1)

        def telling(term: str, on_pages: str) -> float:
            numbers, _ = self._postings[term]
            carriers = {self._ids[number] for number in numbers}
            holding = [document for document, terms_there in seen if on_pages in terms_there]
            own = sum(document in carriers for document in holding)
            ours = (own + 0.5) / (len(holding) + 0.5)
            return self._rarity(len(numbers)) / one * ours**2

        return telling

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
    if place == "file":
        return found | _carried("title", f"{text} {file_words(text)}")
    if place != "front":
        words = _WORD.findall(text)
        found |= {f"={joined}" for joined, _ in _joined(words)}
        found |= {f"initials {letters}" for letters, _ in _initials(words) if len(letters) > 2}
    if place == "title":
        found |= {f"short {word.lower()}" for word in words if 1 < len(word) < 6 and word.isupper()}
    return found


def _names_asked(question: Wording, words: Sequence[str]) -> list[Sought]:
    """The terms by which a question may name a document, with the places of the words that they stand for."""
    content = set(question.words)
    kept = [word if word.lower() in content else "" for word in words]
    # Typed without a capital, a question says nothing by its small letters.
    small = _SMALL if words and words[0][:1].isupper() else 1.0
    counts = [1.0 if place and not word.islower() else small for place, word in enumerate(kept)]
    found: list[Sought] = []
    for place, word in enumerate(kept):
        found += [(term, (place,), counts[place], term) for term in terms(word) if not term.isdigit()]
        if len(word) > 2 and word.isupper():
            found.append((f"initials {word.lower()}", (place,), 1.0, ""))
    for joined, places in _joined(kept):
        alone = terms(joined)[0] if len(places) == 1 else ""
        found.append((f"={joined}", places, max(counts[p] for p in places), alone))
    found += [(f"short {letters}", places, _SMALL, "") for letters, places in _initials(kept)]
    return found


def _moments_asked(question: Wording, known: Container[str]) -> list[Sought]:
    """Days, years and quarters that a question asks for, each at a place of its own; a day stands for its year."""
    settled = {date[0] for date in question.dates if _day(date) in known}
    years = sorted(question.years - settled)
    found = [(_day(date), 1.0) for date in sorted(question.dates)]
    found += [(f"year {year}", 1.0 if year == years[-1] else _EARLIER) for year in years]
    found += [(f"quarter {quarter}", 1.0) for quarter in sorted(question.quarters)]
    return [(term, (place,), counts, "") for place, (term, counts) in enumerate(found)]


def _plain(text: str) -> set[str]:
    return {term for term in terms(text) if not term.isdigit()}


def _moments(text: str) -> set[str]:
    """Years, quarters and days as terms."""
    return (
        {f"year {year}" for year in years_of(text)}
        | {f"quarter {quarter}" for quarter in quarters_of(text)}
        | {_day(date) for date in dates_of(text)}
    )


def _day(date: tuple[int, int, int]) -> str:
    return "day {}-{}-{}".format(*date)


def _joined(words: Sequence[str]) -> Iterator[tuple[str, Sequence[int]]]:
    """Up to four neighbouring words as one, with their places; "and" and the s of a possessive are passed over."""
    kept = [(place, word.lower()) for place, word in enumerate(words) if word and word.lower() not in ("and", "s")]
    for start in range(len(kept)):
        for end in range(start + 1, min(len(kept), start + _LONGEST_JOIN) + 1):
            whole = "".join(word for _, word in kept[start:end])
            if len(whole) > 3 and not whole.isdigit():
                yield whole, [place for place, _ in kept[start:end]]


def _initials(words: Sequence[str]) -> Iterator[tuple[str, Sequence[int]]]:
    """The first letters of two to five capitalised words in a row, with their places."""
    for start in range(len(words)):
        for end in range(start + 2, min(len(words), start + 5) + 1):
            if not all(word[:1].isupper() for word in words[start:end]):
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
