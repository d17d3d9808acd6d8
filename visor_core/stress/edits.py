"""What can be done to a document: edits as data, and their JSON form on the way to the process that makes them.

Boxes are page-normalised floats of the page as displayed; pages count from 1. `editing` makes edits and verifies each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from visor_core.geometry import Box

Place = Literal["visible", "tiny", "white", "annotation", "metadata"]
PLACES: tuple[Place, ...] = ("visible", "tiny", "white", "annotation", "metadata")
"""Where an order can stand: in the foot of the page at reading size, at one point, white on white; in a note on the
page; in the document's title and keywords."""


@dataclass(frozen=True, slots=True)
class Replace:
    """The words `old` of the text layer, all inside `box`, become `new`.

    In the font and size nearest to theirs; painted over where the page is a picture and its words are invisible.
    """

    page: int
    box: Box
    old: tuple[str, ...]
    new: str


@dataclass(frozen=True, slots=True)
class Paint:
    """What the picture shows inside `box` becomes `text`, drawn as outlines: no word of the text layer changes.

    `size` is the font size in points; 0 fits the text to the box.
    """

    page: int
    box: Box
    text: str
    size: float = 0.0


@dataclass(frozen=True, slots=True)
class Print:
    """A sentence printed on a page; `size` in points holds where it is `visible` or `white`."""

    page: int
    text: str
    place: Place = "visible"
    size: float = 10.0


@dataclass(frozen=True, slots=True)
class Blur:
    """Every page is covered by a blurred picture of itself; its words stay searchable. `radius` is in points."""

    radius: float


@dataclass(frozen=True, slots=True)
class Coarsen:
    """Every page is covered by a picture of itself at `dpi` dots per inch, as of a poor scan; its words stay
    searchable."""

    dpi: float


@dataclass(frozen=True, slots=True)
class Turn:
    """Every page, words and all, is turned clockwise by `degrees`; scaled to fit where these are no right angle."""

    degrees: float


Whole = Blur | Coarsen | Turn
"""The edits that change every page."""
Edit = Replace | Paint | Print | Whole
_KINDS: dict[str, type[Edit]] = {kind.__name__.lower(): kind for kind in (Replace, Paint, Print, Blur, Coarsen, Turn)}


def as_json(edit: Edit) -> dict[str, Any]:
    """An edit as JSON values.

    >>> as_json(Turn(90.0))
    {'kind': 'turn', 'degrees': 90.0}
    """
    values = asdict(edit)
    if isinstance(edit, Replace | Paint):
        values["box"] = list(edit.box.as_tuple())
    if isinstance(edit, Replace):
        values["old"] = list(edit.old)
    return {"kind": type(edit).__name__.lower(), **values}


def from_json(values: Mapping[str, Any]) -> Edit:
    """What `as_json` made.

    Raises:
        KeyError, TypeError, ValueError: if the values are none.
    """
    given = {name: value for name, value in values.items() if name != "kind"}
    if "box" in given:
        given["box"] = Box(*given["box"])
    if "old" in given:
        given["old"] = tuple(given["old"])
    return _KINDS[values["kind"]](**given)
