"""One way to open a document, whatever its bytes and whichever renderer.

`open_document` looks at the bytes, never at the file's name, and returns an `OpenDocument`: page sizes, words with
page-normalised boxes, and a raster of any box of any page at exactly the requested pixel size. Limits that need no
rendering (pages, page size) are checked by `check_limits`. Leaves out: OCR (`ocr`), processes (`pool`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from PIL import Image

from visor_core.documents.formats import KINDS, media_type
from visor_core.errors import DocumentError
from visor_core.geometry import FULL_PAGE, Box

Renderer = Literal["pymupdf", "pdfium"]

POINTS_PER_INCH = 72.0
_LONGEST_SIDE = 65_500
"""Pixels: the most that JPEG has along a side."""


def one_line(error: BaseException) -> str:
    """What a library says of an error, as one short line; its type where it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__


class Word(NamedTuple):
    """A word and its box in page-normalised floats of the page as displayed."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float


class OutlineEntry(NamedTuple):
    """A part of a document by its outline (bookmarks): how deep, from 1, its title, and the page it begins on."""

    level: int
    title: str
    page: int


MOST_OUTLINE_ENTRIES = 5000
"""More of a document's outline is not read."""


@dataclass(frozen=True, slots=True)
class PageSize:
    """A page as displayed: points (1/72 inch), with the rotation that was applied, in degrees."""

    width_pt: float
    height_pt: float
    rotation: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a document may be, so that one file cannot exhaust the machine."""

    max_bytes: int
    max_pages: int
    max_page_inches: float
    max_page_pixels: int


class EncryptedDocumentError(DocumentError):
    """A PDF that needs a password that was not given, or another one."""

    def __init__(self, password: str) -> None:
        super().__init__(
            "the PDF is encrypted and the password configured for its file name is wrong"
            if password
            else "the PDF is encrypted: give its password under documents.passwords, by file name"
        )


class OpenDocument(Protocol):
    """An open document. Pages are 1-based. Not safe for use by two threads at once."""

    num_pages: int
    title: str

    def page_size(self, page: int) -> PageSize:
        """Size of a page as displayed.

        Raises:
            DocumentError: if the page cannot be read.
        """
        ...

    def words(self, page: int) -> list[list[Word]]:
        """Words of the text layer as blocks (paragraphs) in the order the file gives them."""
        ...

    def outline(self) -> list[OutlineEntry]:
        """The document's outline in its order; empty where it has none, or none that can be read."""
        ...

    def render(self, page: int, width: int, height: int, box: Box = FULL_PAGE) -> Image.Image:
        """The part `box` of a page as an RGB picture of exactly `width` × `height` pixels, on white."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


def open_document(
    path: Path, *, renderer: Renderer = "pymupdf", password: str = "", max_pixels: int = 200_000_000
) -> OpenDocument:
    """Open a PDF or a picture.

    Args:
        path: the file; its name plays no part.
        renderer: library for PDFs.
        password: tried on an encrypted PDF.
        max_pixels: a picture that decodes to more pixels than this is refused.

    Raises:
        DocumentError: with the reason in words a user can act on (empty, no document, encrypted, damaged, no pages).
    """
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise DocumentError(f"the file cannot be read: {error.strerror or error}") from error
    if not head:
        raise DocumentError("the file is empty (0 bytes)")
    kind = media_type(head)
    if kind is None:
        raise DocumentError(f"the file is none of those that are read (judged by its bytes): {KINDS}")
    if kind != "application/pdf":
        from visor_core.documents.pictures import PictureDocument

        return PictureDocument(path, max_pixels=max_pixels)
    if renderer == "pdfium":
        from visor_core.documents.pdfium import PdfiumDocument

        return PdfiumDocument(path, password)
    from visor_core.documents.mupdf import MuPDFDocument

    try:
        document = MuPDFDocument(path, password)
        if document.num_pages:
            return document
        fault = DocumentError("the document has no pages")
        document.close()
    except EncryptedDocumentError:
        raise
    except DocumentError as error:
        fault = error
    # pdfium mends some page trees that MuPDF gives up on; the choice depends on the bytes alone.
    from visor_core.documents.pdfium import PdfiumDocument

    try:
        second = PdfiumDocument(path, password)
    except DocumentError:
        raise fault from None
    if not second.num_pages:
        second.close()
        raise fault
    return second


def check_limits(document: OpenDocument, limits: Limits) -> None:
    """Refuse a document without pages, with too many, or with a page too large to be one.

    Raises:
        DocumentError: naming the page and the limit.
    """
    if document.num_pages < 1:
        raise DocumentError("the document has no pages")
    if document.num_pages > limits.max_pages:
        raise DocumentError(
            f"the document has {document.num_pages} pages, more than documents.max_pages = {limits.max_pages}"
        )
    for page in range(1, document.num_pages + 1):
        try:
            size = document.page_size(page)
        except DocumentError:
            continue  # the page is kept as unreadable when it is rendered; its neighbours may be fine
        inches = max(size.width_pt, size.height_pt) / POINTS_PER_INCH
        if inches > limits.max_page_inches:
            raise DocumentError(
                f"page {page} is {inches:.0f} inches long, more than documents.max_page_inches = "
                f"{limits.max_page_inches:g}"
            )


def raster_size(size: PageSize, dpi: float, max_pixels: int) -> tuple[int, int, float]:
    """Pixel width, pixel height and effective dpi of a page, lowered where it would exceed `max_pixels` or the
    longest side that JPEG has."""
    scale = dpi / POINTS_PER_INCH
    pixels = size.width_pt * size.height_pt * scale * scale
    if pixels > max_pixels:
        scale *= (max_pixels / pixels) ** 0.5
    scale = min(scale, _LONGEST_SIDE / max(size.width_pt, size.height_pt))
    width = max(1, round(size.width_pt * scale))
    height = max(1, round(size.height_pt * scale))
    return width, height, scale * POINTS_PER_INCH
