"""What a document worker tells its parent, as bytes that are only read: JSON, and the boxes of words as raw float32.

A worker parses foreign files, so it may come to say anything. Nothing it sends is unpickled; what is of another form,
speaks of another document or of pages that were not asked for is refused.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_BYTES = 2**28
"""Of one message, and of one picture."""
_FURTHEST = 2**31
"""No number that is stored is as large."""


@dataclass(frozen=True, slots=True)
class Validated:
    """What opening a document told: a document worth rendering."""

    key: str
    num_pages: int
    title: str


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """A page as it is stored. `problem` is empty, or why the page could not be read (the picture is then blank).
    `section` is its path in the document's outline, empty where it has none.

    `legible` says whether the text layer says what the page shows: else it is one for OCR.
    Words travel as their texts and a (N, 4) float32 array of page-normalised boxes: cheap to send and to store.
    """

    key: str
    page: int
    width_pt: float
    height_pt: float
    rotation: int
    text: str
    text_source: str
    headings: tuple[str, ...]
    section: str
    word_texts: tuple[str, ...]
    word_boxes: npt.NDArray[np.float32]
    image: bytes
    image_width: int
    image_height: int
    dpi: float
    problem: str
    legible: bool
    content_hash: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The task's last message."""

    key: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The task cannot be done; `reason` goes to the quarantine.

    `by_secret` if a password was missing or wrong: another one may be given without any setting being another.
    """

    key: str
    reason: str
    by_secret: bool = False


Message = Validated | RenderedPage | Finished | Failed


@dataclass(frozen=True, slots=True)
class Shelved:
    """A page whose picture lies in the file that the worker shares with its parent, until the task's next."""

    page: RenderedPage
    offset: int
    size: int

    def taken(self, shared: int) -> RenderedPage:
        """The page with its picture."""
        return replace(self.page, image=os.pread(shared, self.size, self.offset))


class MalformedError(ValueError):
    """What a worker sent is no message on the task it was given."""


_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str, "int": int, "float": (int, float), "bool": bool, "tuple[str, ...]": list,
}  # fmt: skip
_APART = ("word_boxes", "image")
"""Fields of a page that are no JSON."""


def _fields(kind: type) -> dict[str, type | tuple[type, ...]]:
    """The fields of a message that JSON holds, and what each has to be."""
    annotations = {name: str(field.type) for name, field in kind.__dataclass_fields__.items()}  # type: ignore[attr-defined]
    return {name: _TYPES[told] for name, told in annotations.items() if name not in _APART}


_KINDS: dict[str, type] = {kind.__name__: kind for kind in (Validated, RenderedPage, Finished, Failed)}
_FIELDS = {name: _fields(kind) for name, kind in _KINDS.items()}


def packed(message: Validated | Finished | Failed | Shelved) -> bytes:
    """A message as it is sent."""
    body = message.page if isinstance(message, Shelved) else message
    shelf = [message.offset, message.size] if isinstance(message, Shelved) else []
    name = type(body).__name__
    head = json.dumps([name, {field: getattr(body, field) for field in _FIELDS[name]}, shelf]).encode()
    boxes = body.word_boxes.tobytes() if isinstance(body, RenderedPage) else b""
    return struct.pack("<I", len(head)) + head + boxes


def unpacked(data: bytes, key: str, pages: Collection[int] | None) -> Validated | Finished | Failed | Shelved:
    """The message that was sent on the task of a document.

    Args:
        data: as it was received.
        key: of the document.
        pages: those asked for; none where the document is only opened.

    Raises:
        MalformedError: if it is none.
    """
    try:
        (length,) = struct.unpack_from("<I", data)
        name, fields, shelf = json.loads(data[4 : 4 + length])
        wanted = _FIELDS[name]
    except (ValueError, TypeError, KeyError, struct.error, RecursionError) as error:
        raise MalformedError(f"{len(data)} bytes are no message") from error
    _require(isinstance(fields, dict) and fields.keys() == wanted.keys(), f"{name} has other fields")
    for field, kind in wanted.items():
        _require(_is(fields[field], kind), f"{field} is of another type")
    _require(fields["key"] == key, "it speaks of another document")
    if name != RenderedPage.__name__:
        _require(pages is None or name != Validated.__name__, "the document was not to be opened")
        _require(_is_text(fields.get("title", "")), "its title is no text")
        message: Validated | Finished | Failed = _KINDS[name](**fields)
        return message
    _require(pages is not None and fields["page"] in pages, "it speaks of a page that was not asked for")
    return _shelved(fields, data[4 + length :], shelf)


def _shelved(fields: Mapping[str, Any], boxes: bytes, shelf: Any) -> Shelved:
    _require(len(boxes) == 16 * len(fields["word_texts"]), "words and boxes differ in number")
    places = np.frombuffer(boxes, np.float32).reshape(-1, 4)
    _require(bool(np.isfinite(places).all()), "a box is no place")
    _require(isinstance(shelf, list) and len(shelf) == 2, "it has no picture")
    offset, size = shelf
    _require(_is(offset, int) and _is(size, int) and min(offset, size) >= 0, "its picture lies nowhere")
    _require(size <= MOST_BYTES, "its picture is too large")
    texts = [fields[name] for name in ("text", "section", "problem")]
    _require(all(map(_is_text, (*texts, *fields["headings"], *fields["word_texts"]))), "it holds what is no text")
    lists = {name: tuple(fields[name]) for name in ("headings", "word_texts")}
    return Shelved(RenderedPage(**{**fields, **lists}, word_boxes=places, image=b""), offset, size)


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether JSON gave a value of this type; a list has to be one of texts, and True is no number."""
    if isinstance(value, list):
        return kind is list and all(isinstance(item, str) for item in value)
    if isinstance(value, int | float) and not abs(value) < _FURTHEST:  # as no number is that is not finite
        return False
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _is_text(value: str) -> bool:
    """Whether a table takes it: a lone surrogate is no character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _require(true: bool, otherwise: str) -> None:
    if not true:
        raise MalformedError(otherwise)
