"""What a language model's reply says of an answer: True or False, a grade from 1 to 5, or the short answer in it.

A reply in which none, or more than one, can be read is no verdict; it is never taken for a wrong answer. Sources of the
forms: ViDoSeek's judge (Wang et al. 2025) grades from 1 to 5 and takes 4 for right; MMLongBench-Doc's extraction (Ma et
al. 2024) answers with two labelled lines.
"""

from __future__ import annotations

import re

RIGHT_FROM = 4.0
"""The lowest grade that counts as right."""
_LINE = r"[\s*_`#>\"'.]*"
_VERDICT = re.compile(rf"^{_LINE}(?:verdict{_LINE}:{_LINE})?(true|false){_LINE}$", re.IGNORECASE | re.MULTILINE)
_GRADE = re.compile(
    rf"^[\s*_`#>\"']*(?:(?:grade|score){_LINE}:{_LINE})?([1-5](?:\.\d+)?)(?:\s*/\s*5)?{_LINE}$",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER = re.compile(r"extracted answer\s*:(.*?)(?:answer format\s*:|\Z)", re.IGNORECASE | re.DOTALL)


class UnreadableError(Exception):
    """Raised for a reply in which no verdict can be read; says why."""


def spoken(text: str) -> str:
    """A reply without its thought.

    Raises:
        UnreadableError: if it is a thought without an end, or empty.
    """
    _, ended, after = text.rpartition("</think>")
    if not ended and "<think>" in text:
        raise UnreadableError("the reply is a thought that does not end")
    if not after.strip():
        raise UnreadableError("the reply is empty")
    return after.strip()


def verdict_in(text: str) -> float:
    """1 for True, 0 for False.

    Raises:
        UnreadableError: if the reply says neither on a line of its own, or both.
    """
    found = {match.lower() for match in _VERDICT.findall(spoken(text))}
    return float(_only(found, "True or False") == "true")


def grade_in(text: str) -> float:
    """A grade from 1 to 5.

    Raises:
        UnreadableError: if the reply gives none on a line of its own, or several.
    """
    grade = float(_only({match.rstrip("0").rstrip(".") for match in _GRADE.findall(spoken(text))}, "a grade of 1 to 5"))
    if grade > 5:
        raise UnreadableError(f"the grade {grade:g} is none of 1 to 5")
    return grade


def right_by_grade(grade: float) -> float:
    """1 from `RIGHT_FROM` upwards, else 0."""
    return float(grade >= RIGHT_FROM)


def answer_in(text: str) -> str:
    """The short answer that was extracted.

    Raises:
        UnreadableError: if the reply names none, or several.
    """
    found = {match.strip() for match in _ANSWER.findall(spoken(text))}
    return _only({answer for answer in found if answer}, "an extracted answer")


def _only(found: set[str], wanted: str) -> str:
    if len(found) != 1:
        raise UnreadableError(f"the reply says {wanted} {'not at all' if not found else 'more than once'}")
    return found.pop()
