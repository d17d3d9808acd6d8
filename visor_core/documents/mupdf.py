"""PDFs through PyMuPDF (AGPL-3.0 or commercial): the default renderer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pymupdf
from PIL import Image

from visor_core.documents.bidi import has_right_to_left, lines_of, words_in_line
from visor_core.documents.reader import (
    MOST_OUTLINE_ENTRIES,
    EncryptedDocumentError,
    OutlineEntry,
    PageSize,
    Word,
    one_line,
)
from visor_core.errors import DocumentError
from visor_core.geometry import FULL_PAGE, Box

# MuPDF prints every damaged object it meets; the reasons that matter are raised and recorded instead.
pymupdf.TOOLS.mupdf_display_errors(False)
pymupdf.TOOLS.mupdf_display_warnings(False)

_TEXT_FLAGS = (pymupdf.TEXTFLAGS_WORDS | pymupdf.TEXT_MEDIABOX_CLIP) & ~(
    # A glyph that the font does not name would get a letter all the same, of plausible nonsense; a ligature of several
    # letters would be one that no query has.
    pymupdf.TEXT_CID_FOR_UNKNOWN_UNICODE | pymupdf.TEXT_PRESERVE_LIGATURES
)
_LEVEL = 0.1
"""Most rise of a line's direction that is written level."""
_STORE_PAGES = 32
"""Pages between which MuPDF may keep fonts and decoded pictures; its own bound, 256 MiB a process, is too much here."""
_FAULTS = (pymupdf.FileDataError, pymupdf.mupdf.FzErrorBase, RuntimeError, ValueError, IndexError, TypeError)


class MuPDFDocument:
    """A PDF opened by MuPDF. The last page used stays loaded, so crops of one page are cheap."""

    def __init__(self, path: Path, password: str = "") -> None:
        try:
            self._pdf = pymupdf.open(path, filetype="pdf")
            if self._pdf.needs_pass and not (password and self._pdf.authenticate(password)):
                raise EncryptedDocumentError(password)
            self.num_pages = int(self._pdf.page_count)
            self.title = str((self._pdf.metadata or {}).get("title") or "")
        except _FAULTS as error:
            # MuPDF names the stored copy, which is nothing to the user.
            told = one_line(error)
            reason = "no reader can open it" if str(path) in told else told
            raise DocumentError(f"the PDF is damaged: {reason}") from error
        self._loaded: tuple[int, pymupdf.Page, pymupdf.DisplayList] | None = None
        self._sized: tuple[int, pymupdf.Page] | None = None
        self._outline: list[OutlineEntry] | None = None
        self._drawn = 0

    def _page(self, page: int) -> tuple[pymupdf.Page, pymupdf.DisplayList]:
        if self._loaded is None or self._loaded[0] != page:
            if not 1 <= page <= self.num_pages:
                raise DocumentError(f"page {page} does not exist: the document has {self.num_pages} pages")
            try:
                loaded = self._read(page)
                self._loaded = (page, loaded, loaded.get_displaylist())
            except _FAULTS as error:
                raise DocumentError(f"page {page} cannot be read: {one_line(error)}") from error
        return self._loaded[1], self._loaded[2]

    def _read(self, page: int) -> pymupdf.Page:
        """A page without its contents; the one read last is remembered, as it is measured before it is drawn."""
        if self._sized is None or self._sized[0] != page:
            self._sized = (page, self._pdf.load_page(page - 1))
        return self._sized[1]

    def page_size(self, page: int) -> PageSize:
        """Size of a page as displayed (crop box and rotation applied)."""
        if not 1 <= page <= self.num_pages:
            raise DocumentError(f"page {page} does not exist: the document has {self.num_pages} pages")
        try:
            loaded = self._read(page)
            rect, rotation = loaded.rect, int(loaded.rotation)
        except _FAULTS as error:
            raise DocumentError(f"page {page} cannot be read: {one_line(error)}") from error
        if not (rect.width > 0 and rect.height > 0):
            raise DocumentError(f"page {page} has no area")
        return PageSize(float(rect.width), float(rect.height), rotation)

    def words(self, page: int) -> list[list[Word]]:
        """Words of the text layer by block; text outside the displayed part of the page is left out."""
        loaded, display = self._page(page)
        try:
            # The display list has the page as displayed, rotation and crop box applied, and is drawn from as well.
            text = pymupdf.TextPage(display.get_textpage(flags=_TEXT_FLAGS))
            rows, rect = text.extractWORDS(), loaded.rect
            turned = _right_to_left(text, rect) if any(has_right_to_left(row[4]) for row in rows) else {}
        except _FAULTS as error:
            raise DocumentError(f"page {page}: the text cannot be read: {one_line(error)}") from error
        if not rows:
            return []
        boxes = np.array([row[:4] for row in rows]) / (rect.width, rect.height, rect.width, rect.height)
        boxes = np.clip(boxes, 0.0, 1.0)
        shown = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        blocks: dict[int, list[Word]] = {}
        for row, box, visible in zip(rows, boxes.tolist(), shown.tolist(), strict=True):
            if visible:
                blocks.setdefault(row[5], []).append(Word(row[4], *box))
        return list((blocks | {number: words for number, words in turned.items() if number in blocks}).values())

    def outline(self) -> list[OutlineEntry]:
        """The outline; one that MuPDF cannot follow is none."""
        if self._outline is None:
            try:
                told = self._pdf.get_toc(simple=True)[:MOST_OUTLINE_ENTRIES]
            except _FAULTS:
                told = []
            self._outline = [OutlineEntry(int(level), str(title).strip(), int(page)) for level, title, page in told]
        return self._outline

    def render(self, page: int, width: int, height: int, box: Box = FULL_PAGE) -> Image.Image:
        """The part `box` of a page, `width` × `height` pixels, RGB on white."""
        loaded, display = self._page(page)
        page_width, page_height = loaded.rect.width, loaded.rect.height
        sx, sy = width / (box.width * page_width), height / (box.height * page_height)
        # The origin of the region lands on pixel (0, 0) exactly, so that the clip rounds to the requested size.
        matrix = pymupdf.Matrix(sx, 0, 0, sy, -box.x0 * page_width * sx, -box.y0 * page_height * sy)
        clip = pymupdf.Rect(box.x0 * page_width, box.y0 * page_height, box.x1 * page_width, box.y1 * page_height)
        try:
            pixels = display.get_pixmap(matrix=matrix, clip=clip, alpha=0)
            # Without a colour the picture is not filled before it is overwritten.
            image = Image.new("RGB", (pixels.width, pixels.height), None)
            image.frombytes(pixels.samples_mv)
            self._drawn += 1
            if self._drawn % _STORE_PAGES == 0:
                pymupdf.TOOLS.store_shrink(100)
        except (*_FAULTS, MemoryError) as error:
            raise DocumentError(f"page {page} cannot be rasterised: {one_line(error)}") from error
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        return image

    def close(self) -> None:
        """Release the file."""
        self._loaded = self._sized = None
        self._pdf.close()


def _right_to_left(text: pymupdf.TextPage, rect: pymupdf.Rect) -> dict[int, list[Word]]:
    """Words of the level blocks with right-to-left letters, by the block's number: MuPDF takes such a line for one in
    the order of writing, whichever it is in, and turns the digits of Arabic."""
    found: dict[int, list[Word]] = {}
    for block in text.extractRAWDICT()["blocks"]:
        lines = block.get("lines", ())
        characters = [c for line in lines for span in line["spans"] for c in span["chars"]]
        level = all(abs(line["dir"][1]) < _LEVEL for line in lines)
        if level and has_right_to_left("".join(c["c"] for c in characters)):
            placed = [Word(c["c"], *_normalised(c["bbox"], rect)) for c in characters]
            aspect = rect.width / rect.height
            words = [word for line in lines_of(placed) for word in words_in_line(line, aspect)]
            found[block["number"]] = [word for word in words if word.x1 > word.x0 and word.y1 > word.y0]
    return found


def _normalised(box: tuple[float, float, float, float], rect: pymupdf.Rect) -> tuple[float, float, float, float]:
    """A box in points as shares of the page, cut at its edges."""
    xs = (min(1.0, max(0.0, x / rect.width)) for x in (box[0], box[2]))
    ys = (min(1.0, max(0.0, y / rect.height)) for y in (box[1], box[3]))
    (x0, x1), (y0, y1) = xs, ys
    return x0, y0, x1, y1
