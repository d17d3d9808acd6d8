"""The process that edits foreign PDFs: makes edits, reads the edited file back, and keeps those that can be verified.

An edit holds when the new words are read where the old ones stood, the old ones are gone from there, every other word
of the page is as before, and the picture changed inside the box and nowhere else. One that does not is taken back, its
reason told; the others stay. Jobs and answers are lines of JSON; memory is capped and the network refused as in
`documents.worker`. Started by `editor`, which watches the time.
"""

from __future__ import annotations

import json
import resource
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pymupdf

from visor_core.documents.formats import media_type_of
from visor_core.documents.reader import OpenDocument, Word, one_line, open_document
from visor_core.errors import DocumentError
from visor_core.geometry import Box
from visor_core.stress import painting
from visor_core.stress.edits import Edit, Paint, Print, Replace, Whole, from_json

_PIXELS = 900
"""Pixels of the longer side of the pictures that are compared."""
_STIRRED = 40
"""Grey levels by which a pixel differs that has changed."""
_MOVED = 0.004
"""How far (shares of the page) a word may seem to move without having been touched."""
_AIR = 0.01
"""What around a box may change with it, in shares of the page: letters reach over their boxes."""
_WORDS_KEPT = 0.9
"""A turned page of which less than this share of the words is read is not the same page turned."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A page as it is read: its words, and its picture in grey (H, W)."""

    words: tuple[Word, ...]
    picture: npt.NDArray[np.int16]


def edit_pdf(source: Path, target: Path, edits: Sequence[Edit], renderer: str, password: str = "") -> list[str]:
    """Write an edited copy; what could not be done, an entry an edit: empty where it holds.

    Nothing is written where no edit holds.

    Raises:
        DocumentError: if the document is no PDF, or cannot be opened or written.
    """
    if media_type_of(source) != "application/pdf":
        raise DocumentError("it is a picture, not a PDF")
    before = _Reader(source, renderer, password)
    faults = [""] * len(edits)
    as_picture: set[int] = set()
    while standing := [n for n in range(len(edits)) if not faults[n]]:
        content = _made(source, password, edits, standing, as_picture, faults)
        target.write_bytes(content)
        after = _Reader(target, renderer, "")
        told = {n: fault for n in standing if not faults[n] and (fault := _fault(before, after, edits, n, standing))}
        after.close()
        again = {n for n in told if isinstance(edits[n], Replace) and n not in as_picture and told[n] == _UNSEEN}
        as_picture |= again
        for n in set(told) - again:
            faults[n] = told[n]
        if not told:
            break
    before.close()
    if all(faults):
        target.unlink(missing_ok=True)
    return faults


_UNSEEN = "the picture of the page does not change"


def _made(
    source: Path, password: str, edits: Sequence[Edit], standing: Sequence[int], as_picture: set[int], faults: list[str]
) -> bytes:
    """The document with the edits that stand; one that cannot be made is told and left out."""
    with pymupdf.open(source, filetype="pdf") as document:
        if document.needs_pass and not document.authenticate(password):
            raise DocumentError("its password is not there")
        for n in standing:
            try:
                painting.apply(document, edits[n], as_picture=n in as_picture)
            except DocumentError as error:
                faults[n] = str(error)
            except (RuntimeError, ValueError, IndexError, TypeError, KeyError) as error:
                faults[n] = f"the PDF library cannot do it: {one_line(error)}"
        return bytes(document.tobytes(garbage=3, deflate=True, no_new_id=True, encryption=pymupdf.PDF_ENCRYPT_NONE))


class _Reader:
    """Pages as the corpus's own reader sees them, each looked at once."""

    def __init__(self, path: Path, renderer: str, password: str) -> None:
        self.path = path
        self._document: OpenDocument = open_document(path, renderer=renderer, password=password)  # type: ignore[arg-type]
        self._seen: dict[int, _Look] = {}

    @property
    def num_pages(self) -> int:
        return self._document.num_pages

    def page(self, number: int) -> _Look:
        if number not in self._seen:
            size = self._document.page_size(number)
            scale = _PIXELS / max(size.width_pt, size.height_pt)
            width, height = max(1, round(size.width_pt * scale)), max(1, round(size.height_pt * scale))
            image = self._document.render(number, width, height).convert("L")
            words = tuple(word for block in self._document.words(number) for word in block)
            self._seen[number] = _Look(words, np.asarray(image, np.int16))
        return self._seen[number]

    def close(self) -> None:
        self._document.close()


def _fault(before: _Reader, after: _Reader, edits: Sequence[Edit], n: int, standing: Sequence[int]) -> str:
    """Why an edit does not hold; empty if it does."""
    edit = edits[n]
    if before.num_pages != after.num_pages:
        return f"the document had {before.num_pages} pages and has {after.num_pages}"
    if isinstance(edit, Whole):
        return _whole_fault(before, after)
    beside = [edits[m] for m in standing if getattr(edits[m], "page", 0) == edit.page]
    was, now = before.page(edit.page), after.page(edit.page)
    if isinstance(edit, Print):
        return _print_fault(was, now, after.path, edit)
    boxes = [other.box for other in beside if isinstance(other, Replace | Paint)]
    if isinstance(edit, Replace) and (fault := _words_fault(was, now, edit, boxes)):
        return fault
    if isinstance(edit, Paint) and not _same_apart(was, now, boxes):
        return "other words of the page change"
    changed = _changed(was, now)
    if changed is None:
        return "the page changes its size"
    if not _inside(changed, edit.box).any():
        return _UNSEEN
    for box in boxes:
        _inside(changed, box, _AIR)[:] = False
    return "the picture changes outside of the box" if changed.mean() > 2e-4 else ""


def _words_fault(was: _Look, now: _Look, edit: Replace, boxes: Sequence[Box]) -> str:
    """Whether the words of a page are the old ones with the new in place."""
    there = [word.text for word in now.words if _within(word, edit.box)]
    if there != edit.new.split():
        return f"{' '.join(there)!r} is read there instead of {edit.new!r}"
    if not _same_apart(was, now, boxes):
        return "other words of the page change"
    return ""


def _within(word: Word, box: Box) -> bool:
    """Whether the middle of a word is inside a box."""
    x, y = (word.x0 + word.x1) / 2, (word.y0 + word.y1) / 2
    return box.x0 <= x <= box.x1 and box.y0 - _MOVED <= y <= box.y1 + _MOVED


def _same_apart(was: _Look, now: _Look, boxes: Sequence[Box]) -> bool:
    """Whether the words outside of boxes are the same, each within `_MOVED` of its place."""
    before, after = (_places(look.words, boxes) for look in (was, now))
    return before.keys() == after.keys() and all(
        len(places) == len(after[text])
        and all(
            max(abs(a - b) for a, b in zip(*pair, strict=True)) < _MOVED
            for pair in zip(places, after[text], strict=True)
        )
        for text, places in before.items()
    )


def _places(words: Sequence[Word], boxes: Sequence[Box]) -> dict[str, list[tuple[float, float]]]:
    """Where each text stands outside of boxes, down the page."""
    found: dict[str, list[tuple[float, float]]] = {}
    for word in words:
        if not any(_within(word, box) for box in boxes):
            found.setdefault(word.text, []).append((word.y0, word.x0))
    return {text: sorted((round(y, 3), x) for y, x in places) for text, places in found.items()}


def _print_fault(was: _Look, now: _Look, path: Path, edit: Print) -> str:
    """Whether a sentence stands where it was to be printed."""
    wanted, extra = edit.text.split(), Counter(w.text for w in now.words) - Counter(w.text for w in was.words)
    if Counter(w.text for w in was.words) - Counter(w.text for w in now.words):
        return "other words of the page change"
    if edit.place in ("visible", "tiny", "white"):
        return "" if extra == Counter(wanted) else f"{len(wanted)} words were printed and {extra.total()} are read"
    with pymupdf.open(path, filetype="pdf") as document:
        if edit.place == "metadata":
            told = [str((document.metadata or {}).get("title"))]
        else:
            told = [str(note.info["content"]) for note in document[edit.page - 1].annots()]
    return "" if edit.text in told else f"the {edit.place} is not read back"


def _whole_fault(before: _Reader, after: _Reader) -> str:
    """Whether every page with something on it changed and kept its words."""
    for number in range(1, before.num_pages + 1):
        was, now = before.page(number), after.page(number)
        had, has = Counter(w.text for w in was.words), Counter(w.text for w in now.words)
        if (had & has).total() < _WORDS_KEPT * had.total():
            return f"of the {had.total()} words of page {number}, {(had & has).total()} are read"
        changed = _changed(was, now)
        if changed is not None and was.picture.std() > 2 and not changed.any():
            return f"page {number} does not change"
    return ""


def _changed(was: _Look, now: _Look) -> npt.NDArray[np.bool_] | None:
    """Which pixels differ (H, W); None for pictures of two sizes."""
    if was.picture.shape != now.picture.shape:
        return None
    return np.abs(was.picture - now.picture) > _STIRRED


def _inside(pixels: npt.NDArray[np.bool_], box: Box, air: float = 0.0) -> npt.NDArray[np.bool_]:
    """The pixels of a box, as a view."""
    height, width = pixels.shape
    rows = slice(max(0, int((box.y0 - air) * height)), int((box.y1 + air) * height) + 1)
    columns = slice(max(0, int((box.x0 - air) * width)), int((box.x1 + air) * width) + 1)
    return pixels[rows, columns]


def answered(job: dict[str, Any]) -> dict[str, Any]:
    """One job done: the faults of its edits, or why nothing of it can be done."""
    try:
        edits = [from_json(values) for values in job["edits"]]
        done = edit_pdf(Path(job["source"]), Path(job["target"]), edits, job["renderer"], job["password"])
        return {"faults": done}
    except DocumentError as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"refused": f"editing it needs more than documents.memory_bytes = {job['memory_bytes']:,}"}
    except (RuntimeError, ValueError, OSError, IndexError, TypeError, KeyError) as error:
        return {"refused": f"editing it failed: {type(error).__name__} {one_line(error)}"}


def main() -> None:
    """Serve jobs from standard input until it ends."""
    sys.addaudithook(_refuse_network)
    # Whatever a library prints goes to stderr; answers alone go to the pipe.
    answers, sys.stdout = sys.stdout, sys.stderr
    begun_with = int(psutil.Process().memory_info().vms)
    for line in sys.stdin:
        job = json.loads(line)
        _limit_memory(begun_with + job["memory_bytes"])
        answers.write(json.dumps(answered(job)) + "\n")
        answers.flush()


def _limit_memory(wanted: int) -> None:
    """Cap the address space."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _refuse_network(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: a parser has no business on the network."""
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
        raise PermissionError(f"the process that edits documents tried {event}")
