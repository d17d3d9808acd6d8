"""The process that parses foreign bytes: reads tasks from a pipe, streams pages or crops back, and dies alone.

Started by `pool` and `drawer`, which pass the number of an inherited socket. Its address space is capped and network
calls from Python are refused; time is watched by the parent, which kills it. Knows nothing of the index.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import resource
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from PIL import Image

from visor_core.documents.drawings import Drawing, Drawings, drawn
from visor_core.documents.headings import headings_of, outline_path
from visor_core.documents.order import reading_order, text_of
from visor_core.documents.reader import (
    EncryptedDocumentError,
    Limits,
    OpenDocument,
    PageSize,
    Renderer,
    Word,
    check_limits,
    media_type,
    open_document,
    raster_size,
)
from visor_core.errors import DocumentError

KEPT_BYTES = 16 * 2**20
"""Memory for pictures on their way that is kept between tasks."""
USABLE_CHARACTERS = 32
"""A text layer with fewer visible characters than this may be a scan's page number: such pages are worth OCR."""


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work on one document; `pages` is none for a validation that renders nothing."""

    key: str
    path: Path
    filename: str
    renderer: Renderer
    limits: Limits
    memory_bytes: int
    password: str = field(default="", repr=False)
    pages: tuple[int, ...] | None = None
    dpi: float = 144.0
    image_format: str = "jpeg"
    jpeg_quality: int = 85
    ocr: str = "never"


@dataclass(frozen=True, slots=True)
class Validated:
    """What opening a document told: a document worth rendering."""

    key: str
    media_type: str
    num_pages: int
    title: str


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """A page as it is stored. `problem` is empty, or why the page could not be read (the picture is then blank).
    `section` is its path in the document's outline, empty where it has none.

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
    content_hash: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The task's last message."""

    key: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The task cannot be done; `reason` goes to the quarantine.

    `by_secret` if a password was at fault: another one may be given without any setting being another.
    """

    key: str
    reason: str
    by_secret: bool = False


_LETTER = PageSize(612.0, 792.0)
"""Size given to a page whose own cannot be read."""

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


class Opened:
    """The document of the last task, kept open for the next one on it: fonts and pictures need not be read again."""

    def __init__(self) -> None:
        self._of: tuple[str, Path, Renderer] | None = None
        self._document: OpenDocument | None = None

    def document(self, task: Task) -> OpenDocument:
        """The task's document.

        Raises:
            DocumentError: if it cannot be opened.
        """
        wanted = task.key, task.path, task.renderer
        if self._document is None or self._of != wanted:
            self.close()
            self._document = open_document(
                task.path, renderer=task.renderer, password=task.password, max_pixels=8 * task.limits.max_page_pixels
            )
            self._of = wanted
        return self._document

    def close(self) -> None:
        """Release the document."""
        if self._document is not None:
            self._document.close()
        self._document = None


def perform(task: Task, opened: Opened | None = None) -> Iterator[Message]:
    """Do one task in this process, yielding its messages; the last is `Finished` or `Failed`.

    Args:
        task: what to do.
        opened: keeps a document that is rendered open between tasks; none closes it at the end.
    """
    try:
        yield from _messages(task, opened)
    except DocumentError as error:
        by_secret = isinstance(error, EncryptedDocumentError) and bool(task.password)
        yield Failed(task.key, str(error), by_secret)
    except MemoryError:
        yield Failed(task.key, f"reading it needs more than documents.memory_bytes = {task.memory_bytes:,}")


def _messages(task: Task, opened: Opened | None) -> Iterator[Message]:
    """The messages of a task that can be done.

    Raises:
        DocumentError: if it cannot be; whatever else a parser raised is its cause and in its message.
        MemoryError: if it needs more memory than it may have.
    """
    held = opened or Opened()
    keep = False
    try:
        document = held.document(task)
        if task.pages is None:
            check_limits(document, task.limits)
            with task.path.open("rb") as file:
                kind = media_type(file.read(1024)) or ""
            yield Validated(task.key, kind, document.num_pages, _clean(document.title).replace("\n", " ")[:300])
        else:
            for page in task.pages:
                yield render_page(document, task, page)
            keep = opened is not None
        yield Finished(task.key)
    except (DocumentError, MemoryError):
        raise
    except Exception as error:
        told = " ".join(str(error).replace(str(task.path), task.filename).split())
        raise DocumentError(f"reading it failed: {type(error).__name__} {told}".strip()[:300]) from error
    finally:
        if not keep:
            held.close()


def render_page(document: OpenDocument, task: Task, page: int) -> RenderedPage:
    """Raster, text and words of one page. A page that cannot be read becomes a blank one with its problem."""
    problem = ""
    blocks: list[list[Word]] = []
    try:
        size = document.page_size(page)
        width, height, dpi = raster_size(size, task.dpi, task.limits.max_page_pixels)
        image = document.render(page, width, height)
    except DocumentError as error:
        problem = str(error)
        width, height, dpi = raster_size(_LETTER, task.dpi, task.limits.max_page_pixels)
        size, image = _LETTER, Image.new("RGB", (width, height), "white")
    if not problem:
        try:
            blocks = _named(reading_order(document.words(page)))
        except DocumentError as error:
            problem = str(error)
    text, source = text_of(blocks), "layer"
    if task.ocr != "never" and (task.ocr == "always" or not usable(text)):
        from visor_core.documents.ocr import recognise

        recognised = reading_order(recognise(image))
        if recognised or task.ocr == "always":
            blocks, source = recognised, "ocr"
            text = text_of(blocks)
    if not text.strip():
        source = "none"
    words = [word for block in blocks for word in block]
    word_texts = tuple(word.text for word in words)
    if _UNSTORABLE.search(joined := " ".join(word_texts)) or not joined.isascii():
        word_texts = tuple(map(_clean, word_texts))
    word_boxes = np.array([word[1:] for word in words], dtype=np.float32).reshape(-1, 4).round(5)
    encoded = encode(image, task.image_format, task.jpeg_quality)
    text = _clean(text)
    digest = hashlib.sha256(encoded)
    digest.update("\0".join((str(page), text, source, problem, *word_texts)).encode())
    digest.update(word_boxes.tobytes())
    return RenderedPage(
        key=task.key,
        page=page,
        width_pt=size.width_pt,
        height_pt=size.height_pt,
        rotation=size.rotation,
        text=text,
        text_source=source,
        headings=tuple(map(_clean, headings_of(blocks))),
        section=_clean(outline_path(document.outline(), page)),
        word_texts=word_texts,
        word_boxes=word_boxes,
        image=encoded,
        image_width=width,
        image_height=height,
        dpi=dpi,
        problem=problem,
        content_hash=digest.hexdigest()[:32],
    )


def usable(text: str) -> bool:
    """Whether a text layer says something: enough visible characters, most of them letters, digits or marks."""
    visible = [c for c in text if not c.isspace()]
    if len(visible) < USABLE_CHARACTERS:
        return False
    unknown = sum(c == "\ufffd" or not c.isprintable() or "\ue000" <= c <= "\uf8ff" for c in visible)
    return unknown <= 0.3 * len(visible)


def encode(image: Image.Image, image_format: str, quality: int) -> bytes:
    """A picture as JPEG or PNG bytes; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    if image_format == "jpeg":
        image.save(buffer, "JPEG", quality=quality)
    else:
        image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


_UNSTORABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]")


def _clean(text: str) -> str:
    """Text with composed letters (NFC), without control characters (line ends stay) and lone surrogates: neither Arrow
    nor a terminal takes them."""
    return unicodedata.normalize("NFC", _UNSTORABLE.sub("", text))


def _named(blocks: list[list[Word]]) -> list[list[Word]]:
    """Blocks without the words of which a font names no character: they are ink, and no text."""
    kept = [[word for word in block if word.text.strip("\ufffd")] for block in blocks]
    return [block for block in kept if block]


def main() -> None:
    """Serve tasks until the parent closes the pipe."""
    connection, shared = Connection(int(sys.argv[1])), int(sys.argv[2])
    sys.addaudithook(_refuse_network)
    # PyMuPDF imports its layout models (onnxruntime, 60 MB, half a second) if it can; nothing here uses them.
    sys.modules["pymupdf.layout"] = None  # type: ignore[assignment]
    opened, drawings = Opened(), Drawings()
    limited: str | int = ""
    begun_with = _mapped()
    while True:
        try:
            task: Task | tuple[Any, ...] = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            if isinstance(task, tuple):
                drawing = Drawing(*task)
                if drawing.memory_bytes != limited:
                    _limit_memory(begun_with + drawing.memory_bytes)
                    limited = drawing.memory_bytes
                connection.send_bytes(drawn(drawing, drawings, shared))
                continue
            if task.key != limited:
                opened.close()
                _limit_memory(_mapped() + task.memory_bytes)
                limited = task.key
            for message in _shelving(perform(task, opened), shared):
                connection.send(message)
        except BrokenPipeError:
            return


def _shelving(messages: Iterator[Message], shared: int) -> Iterator[Message | Shelved]:
    """A task's messages, their pictures left in a shared file: a pipe takes longer over them.

    The parent has taken those of one task before it gives the next, which may write over them.
    """
    end = 0
    if os.fstat(shared).st_size > KEPT_BYTES:
        os.ftruncate(shared, 0)
    for message in messages:
        if isinstance(message, RenderedPage):
            size = os.pwrite(shared, message.image, end)
            yield Shelved(replace(message, image=b""), end, size)
            end += size
        else:
            yield message


def _mapped() -> int:
    """Address space mapped now, in bytes."""
    return int(psutil.Process().memory_info().vms)


def _limit_memory(wanted: int) -> None:
    """Cap the address space at so many bytes."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def _refuse_network(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: a parser has no business on the network."""
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
        raise PermissionError(f"a document worker tried {event}")
