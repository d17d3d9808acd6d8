"""LongDocURL's rules for a short answer, by the format of the gold answer.

Source: `eval_score` of `utils/utils_score_v3.py` of github.com/dengc2023/LongDocURL (Deng et al., ACL 2025), whose
quirks are kept because its numbers depend on them: commas go first, so that "1,234" is a number; of a unit at the end
all of its letters are taken off from the right ("4 mm", "8 rm" → "8 r"); numbers of a list compare as one joined
string, in order; other lists by the best match of each gold item, with a penalty for more items than wanted. Model
output is never run as code: a list is read as a literal, and one that is none is a single item, where the released
scorer computes it (`[1+2]`). An empty list scores 0, where the released scorer stops. The extraction of a short answer
by a language model, which its protocol puts first, is not made here.
"""

from __future__ import annotations

import ast
import re

from visor_core.scoring.mmlongbench import anls, floats_equal, needs_exact_match

_UNITS = ("kg", "mm", "m", "meters", "acres", "minutes", "mile", "miles", "million", "thousand", "billion")
"""In the order in which they are looked for, each once."""


def longdocurl_score(reference: object, prediction: str, answer_format: str) -> float:
    """LongDocURL's score of a short answer, in [0, 1].

    Args:
        reference: the gold answer (for a list: the list or its literal).
        prediction: the short answer.
        answer_format: Int, Float, Str or None; anything else is a list, as for the released scorer.
    """
    if answer_format == "Int":
        wanted, given = clean(reference), _integer(clean(prediction))
        number = _integer(wanted)
        return float((wanted if number is None else number) == ("" if given is None else given))
    if answer_format == "Float":
        gold, found = _number(clean(reference)), _number(clean(prediction))
        return float(gold is not None and found is not None and floats_equal(gold, found))
    if answer_format in ("Str", "None"):
        left, right = clean(reference), clean(prediction)
        return float(left == right) if needs_exact_match(left) else anls(left, right)
    return _score_list([clean(item) for item in _items(reference)], [clean(item) for item in _items(prediction)])


def clean(text: object) -> str:
    """Lower case, without commas, units at the end, parenthesised remarks, outer quotes, currency and percent signs.

    >>> clean("1,234 kg"), clean("$5.2 million"), clean("12%")
    ('1234', '5.2', '12')
    """
    value = str(text).lower().strip().replace(",", "")
    for unit in _UNITS:
        if value.endswith(unit):
            value = value.rstrip(unit).strip()
    value = re.sub(r"\s*\([^)]*\)", "", value).strip()
    value = re.sub(r"^['\"]|['\"]$", "", value).strip()
    return value.lstrip("$").strip().lstrip("£").strip().rstrip("%").strip()


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _number(text: str) -> float | None:
    """A number as the released scorer reads it, which takes percent signs off once more."""
    try:
        return float(text.strip().rstrip("%").strip())
    except ValueError:
        return None


def _items(value: object) -> list[object]:
    """The items of a list or of its literal, a mapping as its values; anything else is one item."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return [value]
    items = value if isinstance(value, list) else [value]
    if items and isinstance(items[0], dict):
        return ["-".join(map(str, item.values())) if isinstance(item, dict) else item for item in items]
    return items


def _score_list(gold: list[str], given: list[str]) -> float:
    if not gold or not given:
        return 0.0
    if _number(gold[0]) is not None or needs_exact_match(gold[0]):
        return float("-".join(gold) == "-".join(given))
    best = [max(anls(wanted, found) for found in given) for wanted in gold]
    return float(sum(best) / len(gold) * min(1.0, len(gold) / len(given)) ** 0.5)
