"""MMLongBench-Doc's rules for a short answer, by the format of the gold answer, and its F1 over a set.

Source: the released scorer of MMLongBench-Doc (arXiv 2407.01523), whose quirks are kept because its numbers depend on
them: Int compares `int(float(prediction))` and knows no percent sign; ANLS of exactly 0.5 scores 0; a list of numbers
compares as one joined string; the similarity divides by the length in capitals. It differs twice. Model output is
never run as code: a list that the released scorer would compute (`[1+2]`) or crash on (`[alpha, beta]`) is split at its
commas. And a gold answer that is not of its format scores 0, where the released scorer stops. The extraction of a short
answer from a long reply by a language model, which the protocol puts first, is not made here.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable

FORMATS = ("Int", "Float", "Str", "None", "List")


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance in characters."""
    if len(a) < len(b):
        a, b = b, a
    previous = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        current = [i]
        for j, right in enumerate(b, start=1):
            current.append(min(previous[j] + 1, current[-1] + 1, previous[j - 1] + (left != right)))
        previous = current
    return previous[-1]


def anls(reference: str, prediction: str, threshold: float = 0.5) -> float:
    """Normalised Levenshtein similarity of one pair; at most `threshold` scores 0."""
    # In capitals some letters are two (ß), so that the length is not that of the compared strings.
    longest = max(len(reference.upper()), len(prediction.upper()))
    similarity = 1.0 if longest == 0 else 1.0 - edit_distance(reference, prediction) / longest
    return similarity if similarity > threshold else 0.0


def clean(text: object) -> str:
    """Lower case, without parenthesised remarks, one outer quote a side, leading dollar and trailing percent signs."""
    value = str(text).lower().strip()
    value = re.sub(r"\s*\([^)]*\)", "", value).strip()
    value = re.sub(r"^['\"]|['\"]$", "", value).strip()
    return value.lstrip("$").strip().rstrip("%").strip()


def needs_exact_match(text: str) -> bool:
    """Whether a string is a URL, code file, page label, phone number, time, date or e-mail address."""
    return (
        "https://" in text
        or text.endswith((".py", "ipynb"))
        or text.startswith("page")
        or re.fullmatch(r"\d+(-\d+|\s\d+)?", text) is not None
        or "a.m." in text
        or "p.m." in text
        or re.fullmatch(r"\d{4}[-\s]\d{2}([-\s]\d{2})?", text) is not None
        or re.fullmatch(r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}", text) is not None
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _decimals(value: float) -> int:
    """Digits after the point as Python prints the number; 3 without a point."""
    text = str(value)
    return len(text.split(".")[-1]) if "." in text else 3


def floats_equal(reference: float, prediction: float) -> bool:
    """Equal within 1 %, or when rounded to their shorter precision (≥ 2 digits), also as a share or a percentage."""
    for item in (reference / 100, reference, reference * 100):
        if math.isclose(item, prediction, rel_tol=0.01):
            return True
        digits = max(min(_decimals(prediction), _decimals(item)), 2)
        if round(prediction, digits) == round(item, digits):
            return True
    return False


def parse_list(value: object) -> list[object]:
    """The items of a bracketed literal; anything else as a list of one.

    Parsed as a literal, never evaluated; a list that is no literal (unquoted words) is split at commas.
    """
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or not value.startswith("["):
        return [value]
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        inner = value[1:].rstrip().removesuffix("]")
        return [part.strip() for part in inner.split(",") if part.strip()]
    return parsed if isinstance(parsed, list) else [parsed]


def _score_int(reference: str, prediction: str) -> float:
    try:
        return float(int(reference) == int(float(prediction)))
    except (ValueError, OverflowError):
        return 0.0


def _score_list(reference: object, prediction: object) -> float:
    gold, given = parse_list(reference), parse_list(prediction)
    if len(gold) != len(given):
        return 0.0
    if not gold:
        return 1.0
    left, right = sorted(map(clean, gold)), sorted(map(clean, given))
    if _number(left[0]) is not None or needs_exact_match(left[0]):
        return float("-".join(left) == "-".join(right))
    return min(anls(g, p) for g, p in zip(left, right, strict=True))


def mmlongbench_score(reference: object, prediction: str, answer_format: str) -> float:
    """MMLongBench-Doc's score of a short answer, in [0, 1].

    Args:
        reference: the gold answer (for List: a list or its literal).
        prediction: the short answer.
        answer_format: Int, Str, Float or None; anything else is taken for List, as the released scorer does.
    """
    if answer_format == "Int":
        return _score_int(str(reference), prediction)
    if answer_format == "Float":
        gold, given = _number(clean(reference)), _number(clean(prediction))
        return float(gold is not None and given is not None and floats_equal(gold, given))
    if answer_format in ("Str", "None"):
        left, right = clean(reference), clean(prediction)
        return float(left == right) if needs_exact_match(left) else anls(left, right)
    return _score_list(reference, prediction)


def mmlongbench_f1(rows: Iterable[tuple[float, bool, bool]]) -> float:
    """MMLongBench-Doc's F1: recall is the mean score over answerable questions, precision the same sum over answers
    that are no refusal; 0 where either has nothing to divide by.

    Args:
        rows: (score, whether the question can be answered, whether the answer was a refusal) of every question.
    """
    kept = list(rows)
    gained = sum(score for score, answerable, _ in kept if answerable)
    asked = sum(answerable for _, answerable, _ in kept)
    answered = sum(not refused for _, _, refused in kept)
    if not asked or not answered or not gained:
        return 0.0
    recall, precision = gained / asked, gained / answered
    return 2 * recall * precision / (recall + precision)
