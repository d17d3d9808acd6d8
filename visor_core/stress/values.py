"""New values in the form of the old ones: a number with the same digits and marks, a text that another question has.

A new value differs by far more than any rule forgives: by at least a fifth (a year by at least a twentieth), and the
rule that scores the question must call it wrong there, and the old value wrong where the new one is gold.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from visor_core.questions import Question
from visor_core.scoring.answers import answer_score

NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")
_YEAR = re.compile(r"(?:1[789]|20)\d\d")
_TRIES = 200
_LEAST, _LEAST_YEAR = 0.2, 0.05
"""Least change of a number, and of a year, as a share of the larger of both."""


def new_number(old: str, rng: random.Random, *, year: bool = False) -> str | None:
    """A number printed like another: as many digits before and after the point, the same thousands commas.

    A `year` becomes another one from 1700 to 2099.

    >>> new_number("1,204.5", random.Random(0))
    '7,604.8'

    None if `old` is no number, or none differs enough.
    """
    if not NUMBER.fullmatch(old):
        return None
    for _ in range(_TRIES):
        drawn = f"{rng.randint(1700, 2099)}" if year else _redrawn(old, rng)
        was, now = (float(text.replace(",", "")) for text in (old, drawn))
        if abs(now - was) >= (_LEAST_YEAR if year else _LEAST) * max(abs(now), abs(was)) > 0:
            return drawn
    return None


def _redrawn(old: str, rng: random.Random) -> str:
    """Every digit drawn anew; a first one that is no zero becomes none, and that of `0.5` stays."""
    drawn = []
    for i, c in enumerate(old):
        if not c.isdigit() or (i == 0 and c == "0" and len(old) > 1):
            drawn.append(c)
        else:
            drawn.append(str(rng.randint(1 if i == 0 else 0, 9)))
    return "".join(drawn)


def new_text(old: str, pool: Sequence[str], rng: random.Random) -> str | None:
    """Another question's answer of like length, with as many words, that begins like this one: large, small or digit.

    None if there is none in the pool.
    """
    fitting = sorted(
        {
            text
            for text in pool
            if text.lower() != old.lower()
            and 0.6 <= len(text) / len(old) <= 1.4
            and len(text.split()) == len(old.split())
            and _look(text) == _look(old)
            and text.isascii()
            and text[0].isalnum()
        }
    )
    return rng.choice(fitting) if fitting else None


def _look(text: str) -> tuple[bool, bool, bool]:
    """How a text is written: in capitals, and whether it begins with a capital or a digit."""
    return text.isupper(), text[0].isupper(), text[0].isdigit()


def new_value(question: Question, pool: Sequence[str], rng: random.Random, printed: str = "") -> str | None:
    """A new gold answer in the form of the question's own; None if there is none that its rule tells apart.

    Args:
        pool: answers of other questions of the same format.
        printed: the answer as the page has it, by which `1,874` is no year.
    """
    old = question.answers[0].strip()
    for _ in range(_TRIES):
        found = NUMBER.search(old)
        if found and (question.answer_format in ("Int", "Float") or found[0] == old.strip("$€£%")):
            is_year = bool(_YEAR.fullmatch(found[0])) and found[0] in (printed or old)
            drawn = new_number(found[0], rng, year=is_year)
            new = None if drawn is None else old[: found.start()] + drawn + old[found.end() :]
        else:
            new = new_text(old, pool, rng)
        if new is None:
            return None
        if _told_apart(question, old, new):
            return new
    return None


def changed(question: Question, new: str) -> Question:
    """The question with another gold answer."""
    return replace(question, answers=(new,))


def _told_apart(question: Question, old: str, new: str) -> bool:
    """Whether the rule calls each wrong where the other is gold, and each right where it is gold itself."""
    asked = changed(question, new)
    wrong = answer_score(question, new) == 0.0 and answer_score(asked, old) == 0.0
    return wrong and answer_score(question, old) == 1.0 and answer_score(asked, new) == 1.0


def printed_new(printed: Sequence[str], old: str, new: str) -> str | None:
    """The words of a page with the new value in the place of the old: marks around it stay as they are printed.

    >>> printed_new(["($1,204)"], "1204", "5731")
    '($5,731)'

    None if the old value does not stand in them as it is.
    """
    text = " ".join(printed)
    if old in text:
        return text.replace(old, new, 1)
    number, wanted = NUMBER.search(text), NUMBER.fullmatch(old)
    fresh = NUMBER.search(new)
    if number and wanted and fresh and float(number[0].replace(",", "")) == float(old.replace(",", "")):
        written = fresh[0].replace(",", "")
        if "," in number[0]:
            whole, _, decimals = written.partition(".")
            written = f"{int(whole):,}" + (f".{decimals}" if decimals else "")
        return text[: number.start()] + written + text[number.end() :]
    start = text.lower().find(old.lower())
    return text[:start] + new + text[start + len(old) :] if start >= 0 else None
