"""The process that parses foreign bytes: reads tasks from a pipe, streams pages or crops back, and dies alone.

Started by `pool` and `drawer`, which pass the number of an inherited socket. Its address space is capped, the kernel
refuses what reading does not need (`confinement`), and network calls from Python are refused everywhere; time is
watched by the parent, which kills it and reads its answers as data only (`messages`). Knows nothing of the index.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import resource
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from PIL import Image

from visor_core.documents.confinement import confine
from visor_core.documents.drawings import Drawing, Drawings, drawn
from visor_core.documents.headings import headings_of, outline_path
from visor_core.documents.legibility import legible, named, plausible
from visor_core.documents.messages import Failed, Finished, Message, RenderedPage, Shelved, Validated, packed
from visor_core.documents.order import reading_order, text_of
from visor_core.documents.reader import (
    EncryptedDocumentError,
    Limits,
    OpenDocument,
    PageSize,
    Renderer,
    Word,
    check_limits,
    open_document,
    raster_size,
)
from visor_core.errors import DocumentError

if TYPE_CHECKING:
    from visor_core.documents.ocr import Recognised

KEPT_BYTES = 16 * 2**20
"""Memory for pictures on their way that is kept between tasks."""


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


_LETTER = PageSize(612.0, 792.0)
"""Size given to a page whose own cannot be read."""


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
        yield Failed(task.key, str(error), by_secret=isinstance(error, EncryptedDocumentError))
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
            yield Validated(task.key, document.num_pages, _clean(document.title).replace("\n", " ")[:300])
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
            blocks = reading_order(document.words(page))
        except DocumentError as error:
            problem = str(error)
    clear = legible(blocks, image)
    blocks = _named(blocks)
    source = "layer"
    if task.ocr != "never" and (task.ocr == "always" or not clear):
        from visor_core.documents.ocr import recognise

        blocks, source = _completed(blocks, recognise(image), replace=task.ocr == "always")
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
    # A picture that is not kept is what it is drawn from, and how.
    digest = hashlib.sha256(encoded or f"{task.key} {task.renderer} {width} {height}".encode())
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
        legible=clear,
        content_hash=digest.hexdigest()[:32],
    )


def _completed(layer: list[list[Word]], recognised: Recognised, *, replace: bool) -> tuple[list[list[Word]], str]:
    """Blocks of a page of which the layer does not say all, and where they come from.

    What OCR reads stands in for a layer of no language, and beside what a layer says of a page that it does not cover.
    """
    if replace:
        return recognised.lines, "ocr"
    words = [word for block in layer for word in block]
    if not plausible(" ".join(word.text for word in words)):
        read = [word.text for line in recognised.lines for word in line]
        return (recognised.lines, "ocr") if read and plausible(" ".join(read)) else (layer, "layer")
    added = [[word for word in line if not _covered(word, words)] for line in recognised.lines]
    added = [line for line in added if line]
    if not added:
        return layer, "layer"
    # The order of a page on its side is not that of what stands upright on it.
    return [*added, *layer] if recognised.turned else reading_order([*layer, *added]), "ocr"


def _covered(word: Word, words: Sequence[Word]) -> bool:
    """Whether the middle of a word lies in one of some others."""
    x, y = (word.x0 + word.x1) / 2, (word.y0 + word.y1) / 2
    return any(other.x0 <= x <= other.x1 and other.y0 <= y <= other.y1 for other in words)


def encode(image: Image.Image, image_format: str, quality: int) -> bytes:
    """A picture as JPEG, WebP or PNG bytes, none at all for `none`; the same picture gives the same bytes."""
    if image_format == "none":
        return b""
    buffer = io.BytesIO()
    if image_format == "jpeg":
        image.save(buffer, "JPEG", quality=quality)
    elif image_format == "webp":
        image.save(buffer, "WEBP", quality=quality, method=0)  # the other methods take three to ten times as long
    else:
        image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


_UNSTORABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]")


_FORMS = re.compile(
    "[\u2e80-\u2fdf\ufb00-\ufbff\ufc00-\ufdff\ufe70-\ufefc\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uffdc"
    "\U0001d400-\U0001d7ff\U0001ee00-\U0001eeff]"
)
"""Ligatures, contextual forms, radicals, wide and half-wide letters, letters of formulas: shapes of a letter."""


def _clean(text: str) -> str:
    """Text with composed letters (NFC), shapes of letters as the letters (NFKC), without control characters (line ends
    stay) and lone surrogates: neither Arrow nor a terminal takes them. Superscripts and fractions stay as they are."""
    stored = _UNSTORABLE.sub("", text)
    return stored if stored.isascii() else unicodedata.normalize("NFC", _FORMS.sub(_letter, stored))


def _letter(form: re.Match[str]) -> str:
    """The letters that a shape stands for; one that stands for several words stays, for it is one."""
    letters = unicodedata.normalize("NFKC", form[0])
    return form[0] if " " in letters else letters


def _named(blocks: list[list[Word]]) -> list[list[Word]]:
    """Blocks without the words of which a font names hardly a character: they are ink, and no text."""
    kept = [[word for word in block if named(word)] for block in blocks]
    return [block for block in kept if block]


def main() -> None:
    """Serve tasks until the parent closes the pipe."""
    connection, shared = Connection(int(sys.argv[1])), int(sys.argv[2])
    sys.addaudithook(_refuse_network)
    # PyMuPDF imports its layout models (onnxruntime, 60 MB, half a second) if it can; nothing here uses them.
    sys.modules["pymupdf.layout"] = None  # type: ignore[assignment]
    confine()
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
                connection.send_bytes(packed(message))
        except BrokenPipeError:
            return


def _shelving(messages: Iterator[Message], shared: int) -> Iterator[Validated | Finished | Failed | Shelved]:
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
