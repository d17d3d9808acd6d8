"""PDFs through pypdfium2 (Apache-2.0 / BSD-3-Clause): the permissive renderer.

What a form's fields hold and what free text annotations say is drawn and read as part of the page. Leaves out what
pdfium does not tell: text of layers that are switched off is read though it is not drawn, and UserUnit is ignored.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw
from PIL import Image

from visor_core.documents.bidi import has_right_to_left, words_in_line
from visor_core.documents.ocr import split_line
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

_HIDDEN = raw.FPDF_ANNOT_FLAG_HIDDEN | raw.FPDF_ANNOT_FLAG_NOVIEW
_PASSWORD = 1 << 13
"""Flag of a text field whose value is not shown."""
_FAULTS = (pdfium.PdfiumError, RuntimeError, ValueError, IndexError)


class PdfiumDocument:
    """A PDF opened by pdfium. The last page used stays loaded."""

    def __init__(self, path: Path, password: str = "") -> None:
        try:
            self._pdf = pdfium.PdfDocument(path, password=password or None)
            self.num_pages = len(self._pdf)
            if self._pdf.get_formtype() != raw.FORMTYPE_NONE:
                self._pdf.init_forms()
                raw.FPDF_SetFormFieldHighlightAlpha(self._pdf.formenv, 0)  # the page as printed, not as filled in
            self.title = str(self._pdf.get_metadata_dict().get("Title") or "")
        except _FAULTS as error:
            if "password" in str(error).lower():
                raise EncryptedDocumentError(password) from error
            raise DocumentError(f"the PDF is damaged: {one_line(error)}") from error
        self._loaded: tuple[int, pdfium.PdfPage] | None = None
        self._outline: list[OutlineEntry] | None = None

    def _page(self, page: int) -> pdfium.PdfPage:
        if self._loaded is None or self._loaded[0] != page:
            if not 1 <= page <= self.num_pages:
                raise DocumentError(f"page {page} does not exist: the document has {self.num_pages} pages")
            self._release()
            try:
                self._loaded = (page, self._pdf[page - 1])
            except _FAULTS as error:
                raise DocumentError(f"page {page} cannot be read: {one_line(error)}") from error
        return self._loaded[1]

    def page_size(self, page: int) -> PageSize:
        """Size of a page as displayed (crop box and rotation applied)."""
        loaded = self._page(page)
        width, height = loaded.get_size()
        if not (width > 0 and height > 0):
            raise DocumentError(f"page {page} has no area")
        return PageSize(float(width), float(height), int(loaded.get_rotation()))

    def words(self, page: int) -> list[list[Word]]:
        """Words of the text layer; a line break starts a block, for the reading order to join again."""
        loaded = self._page(page)
        try:
            text = loaded.get_textpage()
        except _FAULTS as error:
            raise DocumentError(f"page {page}: the text cannot be read: {one_line(error)}") from error
        try:
            characters = _characters(text)
            boxes = _device_boxes(loaded, text)
        finally:
            text.close()
        aspect = loaded.get_width() / loaded.get_height()
        lines: list[list[Word]] = []
        first = 0
        for index, character in enumerate((*characters, "\n")):
            if character in ("\n", _LINE_END_HYPHEN):
                end = index + (character == _LINE_END_HYPHEN)
                lines.append(_words_of_line(characters[first:end], boxes[first:end], aspect))
                first = index + 1
        return [line for line in (*lines, *self._annotated(loaded)) if line]

    def _annotated(self, page: pdfium.PdfPage) -> list[list[Word]]:
        """The values of a form's fields and the words of free text annotations, a line each."""
        lines: list[list[Word]] = []
        for number in range(raw.FPDFPage_GetAnnotCount(page)):
            annotation = raw.FPDFPage_GetAnnot(page, number)
            if not annotation:
                continue
            try:
                told = "" if raw.FPDFAnnot_GetFlags(annotation) & _HIDDEN else self._told(annotation)
                if told:
                    lines += _lines_in(_annotation_box(page, annotation), told)
            finally:
                raw.FPDFPage_CloseAnnot(annotation)
        return lines

    def _told(self, annotation: Any) -> str:
        """What a free text annotation or a text or choice field shows; empty for all others."""
        kind = raw.FPDFAnnot_GetSubtype(annotation)
        if kind == raw.FPDF_ANNOT_FREETEXT:
            return _string(lambda *room: raw.FPDFAnnot_GetStringValue(annotation, b"Contents", *room))
        form = self._pdf.formenv
        if kind != raw.FPDF_ANNOT_WIDGET or form is None:
            return ""
        field = raw.FPDFAnnot_GetFormFieldType(form, annotation)
        if field not in (raw.FPDF_FORMFIELD_TEXTFIELD, raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX):
            return ""
        if raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
            return ""
        return _string(lambda *room: raw.FPDFAnnot_GetFormFieldValue(form, annotation, *room))

    def outline(self) -> list[OutlineEntry]:
        """The outline; entries that lead to no page are passed over, and one that pdfium cannot follow is none."""
        if self._outline is None:
            try:
                marks = [
                    (mark.level + 1, mark.get_title(), mark.get_dest())
                    for mark in islice(self._pdf.get_toc(), MOST_OUTLINE_ENTRIES)
                ]
                pages = [None if to is None else to.get_index() for _, _, to in marks]
            except _FAULTS:
                marks, pages = [], []
            self._outline = [
                OutlineEntry(level, title.strip(), page + 1)
                for (level, title, _), page in zip(marks, pages, strict=True)
                if page is not None
            ]
        return self._outline

    def render(self, page: int, width: int, height: int, box: Box = FULL_PAGE) -> Image.Image:
        """The part `box` of a page, `width` × `height` pixels, RGB on white."""
        loaded = self._page(page)
        full_width, full_height = round(width / box.width), round(height / box.height)
        at = (-round(box.x0 * full_width), -round(box.y0 * full_height), full_width, full_height, 0, raw.FPDF_ANNOT)
        try:
            bitmap = pdfium.PdfBitmap.new_native(width, height, pdfium.raw.FPDFBitmap_BGR)
            bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
            raw.FPDF_RenderPageBitmap(bitmap, loaded, *at)
            if self._pdf.formenv is not None:
                raw.FPDF_FFLDraw(self._pdf.formenv, bitmap, loaded, *at)
            return bitmap.to_pil().convert("RGB")
        except (*_FAULTS, MemoryError) as error:
            raise DocumentError(f"page {page} cannot be rasterised: {one_line(error)}") from error

    def _release(self) -> None:
        if self._loaded is not None:
            self._loaded[1].close()
            self._loaded = None

    def close(self) -> None:
        """Release the file."""
        self._release()
        self._pdf.close()


_LINE_END_HYPHEN = "\x02"
"""What pdfium gives for a hyphen at the end of a line, which it takes for no part of the word."""


def _words_of_line(characters: list[str], boxes: list[tuple[float, float, float, float]], aspect: float) -> list[Word]:
    """The words of a line by its characters; one with right-to-left letters, which pdfium turns by guess, by their
    places."""
    if has_right_to_left("".join(characters)):
        placed = [Word(c, *box) for c, box in zip(characters, boxes, strict=True) if c and c != _LINE_END_HYPHEN]
        seen = [w for w in placed if not w.text.isspace() and w.x1 > w.x0]
        wide = max((w.x1 for w in seen), default=0.0) - min((w.x0 for w in seen), default=0.0)
        high = max((w.y1 for w in seen), default=0.0) - min((w.y0 for w in seen), default=0.0)
        if len(seen) == 1 or wide * aspect > high:
            return [w for w in words_in_line(placed, aspect) if w.x1 > w.x0 and w.y1 > w.y0]
    words, start = [], 0
    for index, character in enumerate((*characters, " ")):
        if not character.isspace():
            continue
        group = [b for b in boxes[start:index] if b[2] > b[0] and b[3] > b[1]]
        word = "".join(characters[start:index]).strip().replace(_LINE_END_HYPHEN, "-")
        if group and word:
            x0, y0 = min(b[0] for b in group), min(b[1] for b in group)
            x1, y1 = max(b[2] for b in group), max(b[3] for b in group)
            words.append(Word(word, x0, y0, x1, y1))
        start = index + 1
    return words


def _characters(text: pdfium.PdfTextPage) -> list[str]:
    """The characters of a page by pdfium's index, as its boxes are; one that the font does not name is U+FFFD.

    One beyond the first plane has two indices: the second is empty.
    """
    found: list[str] = []
    for index in range(text.count_chars()):
        code = int(raw.FPDFText_GetUnicode(text, index))
        if raw.FPDFText_IsHyphen(text, index) == 1:
            found.append(_LINE_END_HYPHEN)
        elif 0xDC00 <= code <= 0xDFFF and found and "\ud800" <= found[-1] <= "\udbff":
            found[-1] = (found[-1] + chr(code)).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
            found.append("")
        elif raw.FPDFText_HasUnicodeMapError(text, index) == 1 or code & 0xFFFE == 0xFFFE or code > 0x10FFFF:
            found.append("\ufffd")
        else:
            found.append(chr(code))
    return found


def _string(read: Callable[..., int]) -> str:
    """A string of pdfium's: `read` fills a buffer of so many bytes with UTF-16 and says how many there are."""
    size = int(read(None, 0))
    if size <= 2:
        return ""
    room = ctypes.create_string_buffer(size)
    read(ctypes.cast(room, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    return room.raw[: size - 2].decode("utf-16-le", "replace")


def _annotation_box(page: pdfium.PdfPage, annotation: Any) -> tuple[float, float, float, float]:
    """Where an annotation lies, in page-normalised floats of the page as displayed."""
    rect = raw.FS_RECTF()
    raw.FPDFAnnot_GetRect(annotation, rect)
    return _on_page(page, rect.left, rect.top, rect.right, rect.bottom)


def _lines_in(box: tuple[float, float, float, float], told: str) -> list[list[Word]]:
    """Lines of text that share a box from top to bottom; words share their line by their letters."""
    lines = told.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    x0, y0, x1, y1 = box
    step = (y1 - y0) / len(lines)
    return [split_line(line, x0, y0 + n * step, x1, y0 + (n + 1) * step) for n, line in enumerate(lines) if line]


def _on_page(
    page: pdfium.PdfPage, left: float, top: float, right: float, bottom: float
) -> tuple[float, float, float, float]:
    """A rectangle of page coordinates in page-normalised floats of the page as displayed."""
    unit = 100_000  # pdfium maps to integer device pixels; a fine grid keeps the rounding far below one pixel
    ax, ay, bx, by = (ctypes.c_int() for _ in range(4))
    raw.FPDF_PageToDevice(page, 0, 0, unit, unit, 0, left, top, ax, ay)
    raw.FPDF_PageToDevice(page, 0, 0, unit, unit, 0, right, bottom, bx, by)
    xs = sorted((min(1.0, max(0.0, ax.value / unit)), min(1.0, max(0.0, bx.value / unit))))
    ys = sorted((min(1.0, max(0.0, ay.value / unit)), min(1.0, max(0.0, by.value / unit))))
    return xs[0], ys[0], xs[1], ys[1]


def _device_boxes(page: pdfium.PdfPage, text: pdfium.PdfTextPage) -> list[tuple[float, float, float, float]]:
    """Box of every character in page-normalised floats of the page as displayed: its advance by the height of its font,
    as MuPDF's are."""
    boxes = []
    box = raw.FS_RECTF()
    for index in range(text.count_chars()):
        raw.FPDFText_GetLooseCharBox(text, index, box)
        boxes.append(_on_page(page, box.left, box.top, box.right, box.bottom))
    return boxes
