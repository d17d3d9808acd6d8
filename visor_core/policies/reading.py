"""How the scripted reader reads: what a question asks for, and the value of that kind nearest to the question's words.

Words with boxes go in, a `Reading` comes out. A value's *match* is the share of the question's words that stand within
reach of it; of all values of the kind asked for, the one whose words lie nearest is read, where words of the same row
and of the same column are near, so that a table's cell is found by its row and its head. No model, no gold, nothing
learned; counting, comparing and arithmetic are left out, and so is all that stands in pictures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from visor_core.geometry import Box

Word = tuple[str, float, float, float, float]
"""A word of a page: text, x0, y0, x1, y1 in page-normalised floats."""
Kind = Literal["number", "percentage", "year", "date", "email", "code", "name", "list", "yes or no", "phrase"]
"""What a question wants to be told."""

REACH = 0.1
"""A word farther from a value than this (in shares of the page, rows and columns counting as near) is not beside it."""
ROW, COLUMN = 0.1, 0.3
"""A step along a row or down a column counts as this share of itself."""
LISTED = 4
"""Most items of a list."""
LONGEST = 7
"""Most words of a phrase."""
MARGIN = 0.04
"""Numbers this near to the upper or lower edge of a page are page numbers."""

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_NUMBER = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?|-?\.\d+")
_YEAR = re.compile(r"(?:1[789]|20)\d\d")
_MONTHS = frozenset(
    _WORD.findall("january february march april may june july august september october november december")
)
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
_CODE = re.compile(r"(?=.*\d)[A-Za-z0-9][\w.:/()+-]{3,}")
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_STOP = frozenset(
    _WORD.findall(
        "a about after all also among an and any are as at be been before between both but by can could did do does "
        "each for from had has have how if in into is it its many more most much no not of on one only or other our "
        "out over per shown so such than that the their them then there these they this those to up us "
        "was we were what when where which while who whom whose why will with within would you your"
    )
)
_ABOUT_THE_ANSWER = frozenset(
    _WORD.findall(
        "according answer based below decimal decimals document documents either enumerate figure float format give "
        "given int integer list mention mentioned name page pages percentage percent places please point present "
        "provide report return round show shows slide slides string table terms text value values write"
    )
)
_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("list", re.compile(r"\b(?:list format|in a list|list all|list the|enumerate|what are|which are|mention)\b")),
    ("percentage", re.compile(r"\b(?:percent|percentage|proportion|rate)\b|%")),
    ("email", re.compile(r"\be-?mail\b")),
    ("year", re.compile(r"\b(?:which|what) (?:fiscal |financial )?year\b")),
    ("date", re.compile(r"\b(?:date of|what date|which date|the date|on which day|when (?:was|is|did|were))\b")),
    (
        "code",
        re.compile(r"\b(?:(?:tele)?phone|fax|(?:case|serial|registration|account|bar|id|part|model) (?:no|number))\b"),
    ),
    (
        "number",
        re.compile(
            r"\b(?:how (?:many|much|long|old|far|tall|large|big)|integer|int format|float|decimals?|number of|amount|"
            r"(?:in|of) (?:thousands?|millions?|billions?)|ratio|total|average|score|earnings|revenue|price|cost|"
            r"expenses?|decimal places?|population|maximum|minimum)\b"
        ),
    ),
    ("yes or no", re.compile(r"^(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should)\b")),
    ("name", re.compile(r"\b(?:who|whose|whom|which (?:company|country|person|author|city|state)|name of)\b")),
)
"""The first that fits is the kind; a phrase where none does."""


_KINDS_OF: dict[str, tuple[Kind, ...]] = {
    "whole_number": ("number", "year"),
    "number": ("number", "percentage"),
    "phrase": ("phrase", "name", "date", "year", "email", "code", "yes or no"),
    "listing": ("list",),
}
"""What may be wanted where a format is asked for; the first where the question itself seems to want something else."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the reader understands it: the stems of its telling words with their weights, the kind of answer
    wanted, and the telling words themselves, which make a search."""

    terms: dict[str, float]
    kind: Kind
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A value, where it stands, the region of it and the question's words beside it, and its match in [0, 1]."""

    value: str
    box: Box
    region: Box
    match: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    text: str
    words: tuple[int, ...]


def understand(question: str) -> Asked:
    """What a question asks for; names and numbers in it weigh half as much again as other words.

    >>> understand("How many employees did Acme have in 2015?").kind
    'number'
    >>> understand("Which year was it?").kind
    'year'
    """
    terms: dict[str, float] = {}
    words: list[str] = []
    for position, found in enumerate(_WORD.finditer(question)):
        word = found[0]
        if word.lower() in _STOP or word.lower() in _ABOUT_THE_ANSWER or len(word) < 2:
            continue
        words.append(word)
        telling = word[0].isdigit() or (position > 0 and word[0].isupper())
        terms[stem(word)] = max(terms.get(stem(word), 0.0), 1.5 if telling else 1.0)
    plain = " ".join(question.lower().split())
    kind: Kind = next((kind for kind, pattern in _KINDS if pattern.search(plain)), "phrase")
    return Asked(terms, kind, tuple(dict.fromkeys(words)))


def wanting(asked: Asked, form: str) -> Asked:
    """A question whose answer is asked for in a format, by the key of its text in the wording; as it is without one.

    >>> wanting(understand("What does the table say of staff?"), "whole_number").kind
    'number'
    """
    kinds = _KINDS_OF.get(form, ())
    return asked if not kinds or asked.kind in kinds else replace(asked, kind=kinds[0])


def stem(word: str) -> str:
    """A word without case and the commonest endings; numbers without thousands commas.

    >>> [stem(word) for word in ("Companies", "reported", "1,200", "glass")]
    ['company', 'report', '1200', 'glass']
    """
    lower = word.lower().replace(",", "")
    for ending, instead in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")):
        if len(lower) > len(ending) + 3 and lower.endswith(ending) and not lower.endswith("ss"):
            return lower.removesuffix(ending) + instead
    return lower


def stems(text: str) -> set[str]:
    """The stems of a text's words and numbers."""
    return {stem(part) for part in _WORD.findall(text)}


def coverage(asked: Asked, words: Sequence[Word]) -> float:
    """Share of the question's words, by weight, that stand among the words at all."""
    there = {part for word in words for part in stems(word[0])}
    total = sum(asked.terms.values())
    return sum(weight for term, weight in asked.terms.items() if term in there) / total if total else 0.0


def read(asked: Asked, seen: Sequence[Word]) -> Reading | None:
    """The value of the kind asked for that stands nearest to the question's words; None where there is none.

    Args:
        seen: the words that are looked at, in reading order, with their boxes on the page.
    """
    places = _places(asked, seen)
    candidates = _candidates(asked, seen)
    if not places or not candidates:
        return None
    boxes = np.array([_around(seen, candidate.words) for candidate in candidates])
    # A word that stands everywhere on the page tells little of the place.
    weights = np.array([asked.terms[term] for term in places])
    telling = weights / np.sqrt([len(where) for where in places.values()])
    apart = [_apart(boxes, np.array([seen[i][1:] for i in where])) for where in places.values()]
    nearest = np.stack([distances.min(axis=1) for distances in apart], axis=1)
    cost = (np.minimum(nearest, 2 * REACH) * telling).sum(axis=1)
    order = sorted(range(len(candidates)), key=lambda n: (round(float(cost[n]), 6), n))
    best = order[0]
    near = nearest[best] <= REACH
    beside = [
        where[int(distances[best].argmin())]
        for where, distances, is_near in zip(places.values(), apart, near, strict=True)
        if is_near
    ]
    match = float(weights[near].sum()) / sum(asked.terms.values())
    chosen = [best] if asked.kind != "list" else _listed(candidates, cost, order)
    spot = _around(seen, [i for n in chosen for i in candidates[n].words])
    region = _around(seen, [*(i for n in chosen for i in candidates[n].words), *beside])
    return Reading(_said(asked, [candidates[n].text for n in chosen]), _box(spot), _box(region), match)


def _places(asked: Asked, words: Sequence[Word]) -> dict[str, list[int]]:
    """Where each of the question's words stands."""
    places: dict[str, list[int]] = {}
    for i, word in enumerate(words):
        for term in sorted(stems(word[0]) & asked.terms.keys()):
            places.setdefault(term, []).append(i)
    return places


def _apart(values: np.ndarray, words: np.ndarray) -> np.ndarray:
    """How far values (V, 4) are from words (W, 4), as (V, W) in shares of the page.

    Along a row or down a column counts less than across both, and a value is looked for right of and below its words.
    """
    v, w = values[:, None, :], words[None, :, :]
    right, left = np.maximum(0.0, v[..., 0] - w[..., 2]), np.maximum(0.0, w[..., 0] - v[..., 2])
    below, above = np.maximum(0.0, v[..., 1] - w[..., 3]), np.maximum(0.0, w[..., 1] - v[..., 3])
    dx, dy = right + 1.5 * left, below + 1.5 * above
    # On one line: the middles are nearer than half a line. Lines of a table may touch, so a gap of 0 is no sign of it.
    height = np.minimum(v[..., 3] - v[..., 1], w[..., 3] - w[..., 1])
    same_line = np.abs((v[..., 1] + v[..., 3]) - (w[..., 1] + w[..., 3])) <= height
    across = np.hypot(dx, 1.5 * dy) + 0.03
    return np.where(same_line, ROW * dx, np.where(dx <= 0.002, np.minimum(COLUMN * dy + 0.005, across), across))


def _candidates(asked: Asked, words: Sequence[Word]) -> list[_Candidate]:
    """Everything among the words that is of the kind asked for and is no word of the question."""
    match asked.kind:
        case "number" | "percentage" | "year":
            return _numbers(asked, words)
        case "date":
            return _dates(words)
        case "email":
            return [_Candidate(w[0].strip("()<>,;."), (i,)) for i, w in enumerate(words) if "@" in w[0][1:-3]]
        case "code":
            codes = ((i, w[0].strip("()[],;:.")) for i, w in enumerate(words))
            return [_Candidate(code, (i,)) for i, code in codes if _CODE.fullmatch(code) and not _is_term(asked, code)]
        case "yes or no":
            return [_Candidate("Yes", (i,)) for i, word in enumerate(words) if _is_term(asked, word[0])]
        case "name":
            return _runs(asked, words, capitalised=True)
        case "list" | "phrase":
            return _runs(asked, words, capitalised=False)


def _numbers(asked: Asked, words: Sequence[Word]) -> list[_Candidate]:
    """Numbers in digits, without currency and thousands commas; page numbers and numbers of the question are none."""
    found = []
    for i, (text, _, y0, _, y1) in enumerate(words):
        bare = text.strip("()[]{}$€£¥.,;:*†‡“”\"'")
        sign, number = bare.endswith("%"), bare.rstrip("%")
        after = words[i + 1][0].lower() if i + 1 < len(words) else ""
        in_percent = sign or after.startswith(("%", "percent"))
        if (
            not (_NUMBER.fullmatch(number) or number.lower() in _COUNTS)
            or _is_term(asked, number)
            or (i and y1 < MARGIN)
            or y0 > 1 - MARGIN
        ):
            continue
        number = str(_COUNTS.get(number.lower(), number))
        year = bool(_YEAR.fullmatch(number))
        if (asked.kind == "year") != year or (asked.kind == "percentage") != in_percent:
            continue
        number = number.replace(",", "")
        found.append(_Candidate(f"{number}%" if asked.kind == "percentage" else number, (i,)))
    return found


def _dates(words: Sequence[Word]) -> list[_Candidate]:
    """Dates in figures, and a month's name with the numbers beside it."""
    found = []
    for i, word in enumerate(words):
        bare = word[0].strip("()[],;:.")
        if _DATE.fullmatch(bare):
            found.append(_Candidate(bare, (i,)))
        elif bare.lower() in _MONTHS:
            first = i - (i > 0 and words[i - 1][0].strip("stndrh.,").isdigit())
            last = i
            while last + 1 < len(words) and last < i + 2 and words[last + 1][0].strip("(),;:.").isdigit():
                last += 1
            if last > first:
                stretch = tuple(range(first, last + 1))
                found.append(_Candidate(" ".join(words[k][0] for k in stretch).strip("(),;:. "), stretch))
    return found


def _runs(asked: Asked, words: Sequence[Word], *, capitalised: bool) -> list[_Candidate]:
    """Stretches of a line between stop words, marks and words of the question; `capitalised` ones are names."""
    runs: list[list[int]] = [[]]
    for i, word in enumerate(words):
        bare = word[0].strip("()[]“”\"'•·–-:;,.*")
        fits = bool(bare) and bare.lower() not in _STOP and not _is_term(asked, bare) and any(map(str.isalpha, bare))
        if capitalised:
            fits = fits and bare[0].isupper()
        if not fits or (runs[-1] and not _same_line(words[runs[-1][-1]], word)):
            runs.append([])
        if fits:
            runs[-1].append(i)
            if word[0].endswith((".", ",", ";", ":", ")")):
                runs.append([])
    least = 2 if capitalised else 1
    return [
        _Candidate(" ".join(words[i][0] for i in run).strip("()[]“”\"'•·–-:;,.* "), tuple(run))
        for run in runs
        if least <= len(run) <= LONGEST
    ]


def _same_line(before: Word, after: Word) -> bool:
    """Whether two words follow each other on a line, without a column's gap between them."""
    height = max(before[4] - before[2], 1e-6)
    overlap = min(before[4], after[4]) - max(before[2], after[2])
    return overlap > 0.5 * height and -height < after[1] - before[3] < 1.5 * height


def _is_term(asked: Asked, text: str) -> bool:
    return not asked.terms.keys().isdisjoint(stems(text))


def _listed(candidates: Sequence[_Candidate], cost: np.ndarray, order: Sequence[int]) -> list[int]:
    """The nearest items that are hardly farther than the nearest, each once, in reading order."""
    chosen: dict[str, int] = {}
    for n in order:
        if len(chosen) < LISTED and cost[n] <= cost[order[0]] + REACH / 3:
            chosen.setdefault(candidates[n].text.lower(), n)
    return sorted(chosen.values())


def _said(asked: Asked, texts: Sequence[str]) -> str:
    """The answer in the form that the question wants."""
    return (
        "[" + ", ".join(f"'{text.replace(chr(39), '’')}'" for text in texts) + "]" if asked.kind == "list" else texts[0]
    )


def _around(words: Sequence[Word], which: Sequence[int]) -> tuple[float, float, float, float]:
    boxes = [words[i][1:] for i in which]
    return (
        min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes),
    )  # fmt: skip


def _box(corners: tuple[float, float, float, float]) -> Box:
    """Corners as a box on the page with some area."""
    x0, y0, x1, y1 = (min(1.0, max(0.0, float(v))) for v in corners)
    x0, y0 = min(x0, 0.995), min(y0, 0.995)
    return Box(x0, y0, max(x1, x0 + 0.005), max(y1, y0 + 0.005))
