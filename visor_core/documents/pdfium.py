"""PDFs through pypdfium2 (Apache-2.0 / BSD-3-Clause): the permissive renderer."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pypdfium2 as pdfium
import pypdfium2.raw as raw
from PIL import Image

from visor_core.documents.reader import EncryptedDocumentError, PageSize, Word, one_line
from visor_core.errors import DocumentError
from visor_core.geometry import FULL_PAGE, Box

_FAULTS = (pdfium.PdfiumError, RuntimeError, ValueError, IndexError)


class PdfiumDocument:
    """A PDF opened by pdfium. The last page used stays loaded."""

    def __init__(self, path: Path, password: str = "") -> None:
        try:
            self._pdf = pdfium.PdfDocument(path, password=password or None)
            self.num_pages = len(self._pdf)
            self.title = str(self._pdf.get_metadata_dict().get("Title") or "")
        except _FAULTS as error:
            if "password" in str(error).lower():
                raise EncryptedDocumentError(password) from error
            raise DocumentError(f"the PDF is damaged: {one_line(error)}") from error
        self._loaded: tuple[int, pdfium.PdfPage] | None = None

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
        width, height = loaded.get_size()
        try:
            text = loaded.get_textpage()
        except _FAULTS as error:
            raise DocumentError(f"page {page}: the text cannot be read: {one_line(error)}") from error
        try:
            characters = text.get_text_range() if text.count_chars() else ""
            boxes = _device_boxes(loaded, text, width, height)
        finally:
            text.close()
        lines: list[list[Word]] = [[]]
        start: int | None = None
        for index in range(min(len(characters), len(boxes)) + 1):
            character = characters[index] if index < min(len(characters), len(boxes)) else "\n"
            if not character.isspace():
                start = index if start is None else start
                continue
            if start is not None:
                group = [b for b in boxes[start:index] if b[2] > b[0] and b[3] > b[1]]
                if group:
                    x0, y0 = min(b[0] for b in group), min(b[1] for b in group)
                    x1, y1 = max(b[2] for b in group), max(b[3] for b in group)
                    lines[-1].append(Word(characters[start:index], x0, y0, x1, y1))
                start = None
            if character == "\n" and lines[-1]:
                lines.append([])
        return [line for line in lines if line]

    def render(self, page: int, width: int, height: int, box: Box = FULL_PAGE) -> Image.Image:
        """The part `box` of a page, `width` × `height` pixels, RGB on white."""
        loaded = self._page(page)
        full_width, full_height = round(width / box.width), round(height / box.height)
        try:
            bitmap = pdfium.PdfBitmap.new_native(width, height, pdfium.raw.FPDFBitmap_BGR)
            bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
            raw.FPDF_RenderPageBitmap(
                bitmap,
                loaded,
                -round(box.x0 * full_width),
                -round(box.y0 * full_height),
                full_width,
                full_height,
                0,
                raw.FPDF_ANNOT,
            )
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


def _device_boxes(
    page: pdfium.PdfPage, text: pdfium.PdfTextPage, width: float, height: float
) -> list[tuple[float, float, float, float]]:
    """Box of every character in page-normalised floats of the page as displayed."""
    unit = 100_000  # pdfium maps to integer device pixels; a fine grid keeps the rounding far below one pixel
    boxes = []
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    ax, ay, bx, by = (ctypes.c_int() for _ in range(4))
    for index in range(text.count_chars()):
        raw.FPDFText_GetCharBox(text, index, left, right, bottom, top)
        raw.FPDF_PageToDevice(page, 0, 0, unit, unit, 0, left.value, top.value, ax, ay)
        raw.FPDF_PageToDevice(page, 0, 0, unit, unit, 0, right.value, bottom.value, bx, by)
        xs = sorted((min(1.0, max(0.0, ax.value / unit)), min(1.0, max(0.0, bx.value / unit))))
        ys = sorted((min(1.0, max(0.0, ay.value / unit)), min(1.0, max(0.0, by.value / unit))))
        boxes.append((xs[0], ys[0], xs[1], ys[1]))
    return boxes
