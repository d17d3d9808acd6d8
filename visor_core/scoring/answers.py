"""Answer scores by format: MMLongBench-Doc's rules, SlideVQA's exact match and F1, and normalised exact match.

Source: the published protocol of MMLongBench-Doc (arXiv 2407.01523), whose quirks are kept because its numbers depend
on them (Int compares `int(float(prediction))`; ANLS of exactly 0.5 scores 0). Unlike its script, model output is never
evaluated as code. The extraction of a short answer from a long reply by a language model belongs to evaluation.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter

from visor_core.questions import Question

UNANSWERABLE = (
    "not answerable",
    "unanswerable",
    "cannot be answered",
    "can not be answered",
    "cannot be determined",
    "insufficient",
    "not enough information",
    "no information",
    "not available",
    "missing",
)
"""Phrases by which an answer says that the information is not there."""


def says_missing(answer: str) -> bool:
    """Whether an answer says that the documents do not hold the information."""
    text = " ".join(answer.lower().split())
    return any(phrase in text for phrase in UNANSWERABLE)


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
    """Average normalised Levenshtein similarity of one pair; at most `threshold` scores 0."""
    longest = max(len(reference), len(prediction))
    similarity = 1.0 if longest == 0 else 1.0 - edit_distance(reference, prediction) / longest
    return similarity if similarity > threshold else 0.0


def clean(text: object) -> str:
    """Lower case, without parenthesised remarks, one outer quote a side, a leading $ and a trailing %."""
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


def _number(text: object) -> float | None:
    """A finite float, or None."""
    try:
        value = float(str(text).strip().rstrip("%").strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None


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


def parse_list(value: object) -> list[str]:
    """A bracketed literal as a list of strings; anything else as a list of one.

    Parsed as a literal, never evaluated; a list that is no literal (unquoted words) is split at commas.
    """
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    text = str(value).strip()
    if not text.startswith("["):
        return [text]
    try:
        parsed = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        inner = text[1:].removesuffix("]")
        return [part.strip() for part in inner.split(",") if part.strip()]
    return [str(item) for item in parsed] if isinstance(parsed, list | tuple) else [str(parsed)]


def _score_list(reference: object, prediction: object) -> float:
    gold = sorted(clean(item) for item in parse_list(reference))
    given = sorted(clean(item) for item in parse_list(prediction))
    if len(gold) != len(given):
        return 0.0
    if not gold:
        return 1.0
    if _number(gold[0]) is not None or needs_exact_match(gold[0]):
        return float("-".join(gold) == "-".join(given))
    return min(anls(g, p) for g, p in zip(gold, given, strict=True))


def mmlongbench_score(reference: object, prediction: str, answer_format: str) -> float:
    """MMLongBench-Doc's score of a short answer, in [0, 1].

    Args:
        reference: the gold answer (for List: a list or its literal).
        prediction: the short answer.
        answer_format: Int, Str, Float, List or None.
    """
    if answer_format == "Int":
        gold, given = _number(reference), _number(prediction)
        return float(gold is not None and given is not None and int(gold) == int(given))
    if answer_format == "Float":
        gold, given = _number(clean(reference)), _number(clean(prediction))
        return float(gold is not None and given is not None and floats_equal(gold, given))
    if answer_format == "List":
        return _score_list(reference, prediction)
    left, right = clean(reference), clean(prediction)
    return float(left == right) if needs_exact_match(left) else anls(left, right)


def normalise(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no articles, single spaces."""
    words = re.sub(r"[^\w\s]", "", text.lower()).split()
    return " ".join(w for w in words if w not in ("a", "an", "the"))


def exact_match(reference: str, prediction: str) -> float:
    """1 when both are equal after `normalise` (SlideVQA's EM)."""
    return float(normalise(reference) == normalise(prediction))


def token_f1(reference: str, prediction: str) -> float:
    """F1 over normalised words (SlideVQA's F1)."""
    gold, given = normalise(reference).split(), normalise(prediction).split()
    if not gold or not given:
        return float(gold == given)
    shared = sum((Counter(gold) & Counter(given)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(given), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def answer_score(question: Question, answer: str) -> float:
    """Best score of an answer against the question's accepted answers, by its format, in [0, 1].

    `Exact` is normalised exact match, `F1` SlideVQA's F1; every other format follows MMLongBench-Doc. A question that
    cannot be answered is right exactly when the answer says so; an answerable one never is.
    """
    if not question.answerable:
        return float(says_missing(answer))
    if not answer.strip():
        return 0.0
    if question.answer_format == "Exact":
        return max((exact_match(gold, answer) for gold in question.answers), default=0.0)
    if question.answer_format == "F1":
        return max((token_f1(gold, answer) for gold in question.answers), default=0.0)
    return max((mmlongbench_score(gold, answer, question.answer_format) for gold in question.answers), default=0.0)
