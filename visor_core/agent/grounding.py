"""Boxes in the forms in which vision-language models are trained to ground: bare numbers, JSON, and tags of their own.

`[x1,y1,x2,y2]`, `(x1,y1),(x2,y2)`, `{"bbox_2d": [x1,y1,x2,y2], "label": …}` alone or in a list (Qwen2.5-VL, Qwen3-VL),
`<box>…</box>` (InternVL) and `<|box_start|>(x1,y1),(x2,y2)<|box_end|>` (Qwen2-VL). Only the four numbers are read here:
in which frame they are is the configuration's to say. Of several boxes the first counts. Left out: orders other than
x before y (`box_2d` of Gemini), polygons and points.
"""

from __future__ import annotations

import math
import re

Corners = tuple[float, float, float, float]

MAX_CHARS = 400
"""What is read of a box's own element: a longer one is no box."""

_N = r"[-+]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})(?:[eE][-+]?\d{1,3})?"
_NUMBER = re.compile(_N)
_GAP = r"[\s,;\[\](){}]{1,60}"
_OPEN, _CLOSE = r"[\s\[(]{0,60}", r"[\s\])]{0,60}"
_FOUR = rf"({_N}){_GAP}({_N}){_GAP}({_N}){_GAP}({_N})"
_POINT = rf"\(\s{{0,3}}({_N})\s{{0,3}},\s{{0,3}}({_N})\s{{0,3}}\)"
_KEYED = re.compile(rf"\bbbox(?:_2d)?[\"']?\s{{0,3}}[:=]{_OPEN}{_FOUR}(?=\s{{0,60}}[\])])", re.IGNORECASE)
_TAGGED = re.compile(rf"<(?:box|\|box_start\|)>{_OPEN}{_FOUR}{_CLOSE}<(?:/box|\|box_end\|)>")
_CLOSING = re.compile(r"(?:\s{0,9}(?:`{3,9}|</\w{1,20}>|<\|\w{1,20}\|>)){1,3}")
_PAIRS = re.compile(rf"{_POINT}\s{{0,3}},?\s{{0,3}}{_POINT}")


def box_of(body: str) -> Corners | None:
    """The box that an element written for one holds: four finite numbers, bare, in brackets or in a grounding form."""
    keyed = box_in(body[:MAX_CHARS], pairs=False)
    if keyed:
        return keyed
    bare = re.sub(r'"?bbox(?:_2d)?"?\s{0,3}[:=]', "", body[:MAX_CHARS])
    if _NUMBER.sub(" ", bare).strip(" \t\r\n[](){},;"):
        return None
    return _corners(_NUMBER.findall(bare))


def box_in(text: str, *, pairs: bool = True) -> Corners | None:
    """The first box that a text spells in a form which nothing but a box has; numbers alone are none.

    Args:
        pairs: whether two bracketed points `(x1,y1),(x2,y2)` are such a form.
    """
    first = _first(text, pairs=pairs)
    return _corners(list(first.groups())) if first else None


def end_of_box(text: str) -> int:
    """Where the first box that `box_in` finds ends, with what closes the JSON and the code fence or tag around it."""
    first = _first(text)
    if first is None:
        return len(text)
    before = text[max(0, first.start() - MAX_CHARS) : first.end()]
    depth = sum(before.count(opening) for opening in "{[(") - sum(before.count(closing) for closing in "}])")
    end = first.end()
    for bracket in re.finditer(r"[{}\[\]()]", text[end : end + MAX_CHARS]):
        if depth <= 0:
            break
        depth += 1 if bracket[0] in "{[(" else -1
        end = first.end() + bracket.end()
    closing = _CLOSING.match(text, end)
    return closing.end() if closing else end


def _first(text: str, *, pairs: bool = True) -> re.Match[str] | None:
    found = [m for p in (_KEYED, _TAGGED, *([_PAIRS] if pairs else [])) if (m := p.search(text))]
    return min(found, key=lambda m: m.start(), default=None)


def _corners(numbers: list[str]) -> Corners | None:
    values = [float(n) for n in numbers]
    if len(values) != 4 or not all(math.isfinite(v) for v in values):
        return None
    return (values[0], values[1], values[2], values[3])
