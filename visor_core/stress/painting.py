"""How one edit is made on an open PDF. Runs only in the process of `editing`: the bytes are foreign.

Vector text is taken out by redaction and set anew in the base font nearest to its own. Where a page is a picture, a
patch in the colours of its surroundings goes over it, the text in it as outlines, and invisible words are replaced.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pymupdf
from PIL import Image, ImageFilter

from visor_core.errors import DocumentError
from visor_core.geometry import Box
from visor_core.stress.edits import Blur, Coarsen, Edit, Paint, Print, Replace, Turn

SMALLEST = 0.6
"""A new text is set at no less than this share of the old one's size: beyond that it would be told by its look."""
_DPI = 144
_VISIBLE = 16 | 32
"""Bits of a span's `char_flags` that say its letters are filled or stroked (PyMuPDF, text extraction)."""
_FONTS = {
    "sans": ("helv", "hebo", "heit", "hebi"),
    "serif": ("tiro", "tibo", "tiit", "tibi"),
    "mono": ("cour", "cobo", "coit", "cobi"),
}
"""Base fonts by family: plain, bold, italic, both."""


def apply(document: pymupdf.Document, edit: Edit, *, as_picture: bool = False) -> None:
    """Make one edit.

    Args:
        as_picture: for `Replace`: paint over what is seen, whatever the text layer is.

    Raises:
        DocumentError: if it cannot be made.
    """
    match edit:
        case Replace():
            page = _page(document, edit.page)
            spans = _spans(page, _rect(page, edit.box))
            if not spans:
                raise DocumentError("no letters of the text layer stand there")
            if as_picture or not any(span["char_flags"] & _VISIBLE for span in spans):
                _paint(page, _rect(page, edit.box), edit.new)
                _set_text(page, edit, spans, hidden=True)
            else:
                _set_text(page, edit, spans, hidden=False)
        case Paint():
            page = _page(document, edit.page)
            _paint(page, _rect(page, edit.box), edit.text, edit.size)
        case Print():
            _print(document, edit)
        case Blur():
            for number in range(1, document.page_count + 1):
                _blur(_page(document, number), edit.radius)
        case Coarsen():
            for number in range(1, document.page_count + 1):
                _coarsen(_page(document, number), edit.dpi)
        case Turn():
            _turn(document, edit.degrees)


def _page(document: pymupdf.Document, number: int) -> pymupdf.Page:
    """A page whose own coordinates are those it is displayed in, its content closed against what comes after."""
    page = document[number - 1]
    if page.rotation:
        page.remove_rotation()
    page.wrap_contents()
    return page


def _rect(page: pymupdf.Page, box: Box) -> pymupdf.Rect:
    """A box of the displayed page in its points."""
    width, height = page.rect.width, page.rect.height
    return pymupdf.Rect(box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height)


def _spans(page: pymupdf.Page, rect: pymupdf.Rect) -> list[dict[str, Any]]:
    """The spans with a letter whose middle is inside a rectangle, each with those letters alone."""
    found = []
    for block in page.get_text("rawdict")["blocks"]:
        for line in block.get("lines", ()):
            for span in line["spans"]:
                inside = [c for c in span["chars"] if _middle(c["bbox"]) in rect and c["c"].strip()]
                if inside:
                    found.append({**span, "chars": inside, "dir": line["dir"]})
    return found


def _middle(bbox: tuple[float, float, float, float]) -> pymupdf.Point:
    return pymupdf.Point((bbox[0] + bbox[2]) / 2, (bbox[1] + bbox[3]) / 2)


def _set_text(page: pymupdf.Page, edit: Replace, spans: list[dict[str, Any]], *, hidden: bool) -> None:
    """Take the words inside the box out and set the new ones on their baseline."""
    if any(abs(span["dir"][1]) > 1e-3 or span["dir"][0] <= 0 for span in spans):
        raise DocumentError("the text there does not run from left to right")
    first = spans[0]
    x0 = min(char["bbox"][0] for span in spans for char in span["chars"])
    x1 = max(char["bbox"][2] for span in spans for char in span["chars"])
    font = "helv" if hidden else _font(first)
    natural = pymupdf.get_text_length(edit.new, fontname=font, fontsize=1.0)
    if not natural:
        raise DocumentError(f"{edit.new!r} has no letters that can be set")
    size = min(first["size"], (x1 - x0) / natural)
    if not hidden and size < SMALLEST * first["size"]:
        raise DocumentError(f"{edit.new!r} does not fit where {' '.join(edit.old)!r} stands")
    top = min(char["bbox"][1] for span in spans for char in span["chars"])
    bottom = max(char["bbox"][3] for span in spans for char in span["chars"])
    # A letter goes if any of it is inside: the middle of the line spares its neighbours. What follows in the same
    # string moves by the first letter's width, which MuPDF forgets: such an edit is not verified.
    inset = (bottom - top) * 0.35
    page.add_redact_annot(pymupdf.Rect(x0 + 0.4, top + inset, x1 - 0.4, bottom - inset), fill=False, cross_out=False)
    page.apply_redactions(images=pymupdf.PDF_REDACT_IMAGE_NONE, graphics=pymupdf.PDF_REDACT_LINE_ART_NONE)
    colour = tuple(part / 255 for part in pymupdf.sRGB_to_rgb(first["color"]))
    page.insert_text(
        (x0, first["chars"][0]["origin"][1]),
        edit.new,
        fontname=font,
        fontsize=size,
        color=colour,
        render_mode=3 if hidden else 0,
    )


def _font(span: dict[str, Any]) -> str:
    """The base font nearest to a span's own, by its name and flags (PyMuPDF: 2 italic, 4 serif, 8 mono, 16 bold)."""
    flags, name = span["flags"], span["font"].lower()
    bold = bool(flags & 16) or any(word in name for word in ("bold", "black", "heavy", "semib"))
    italic = bool(flags & 2) or "italic" in name or "oblique" in name
    family = "mono" if flags & 8 else "serif" if flags & 4 else "sans"
    return _FONTS[family][bold + 2 * italic]


def _paint(page: pymupdf.Page, rect: pymupdf.Rect, text: str, size: float = 0.0) -> None:
    """A patch over a rectangle, in the colour around it, with text in the colour of what stood there."""
    pixels = page.get_pixmap(clip=rect, dpi=_DPI, alpha=False)
    shown = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, 3).astype(float)
    edge = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]])
    paper = np.median(edge, axis=0)
    far = np.abs(shown - paper).sum(axis=2)
    if far.max() < 60:
        raise DocumentError("nothing can be seen there")
    ink = np.median(shown[far >= 0.8 * far.max()], axis=0)
    natural = pymupdf.get_text_length(text, fontname="hebo", fontsize=1.0)
    fitting = size or min(rect.height / 1.2, rect.width / natural)
    with pymupdf.open() as drawing:
        patch = drawing.new_page(width=rect.width, height=rect.height)
        patch.draw_rect(patch.rect, color=None, fill=tuple(paper / 255))
        at = (0.0, 0.95 * fitting if size else (rect.height + 0.7 * fitting) / 2)
        patch.insert_text(at, text, fontname="hebo", fontsize=fitting, color=tuple(ink / 255))
        outlines = patch.get_svg_image(text_as_path=True)
    with (
        pymupdf.open(stream=outlines.encode(), filetype="svg") as svg,
        pymupdf.open("pdf", svg.convert_to_pdf()) as pdf,
    ):
        page.show_pdf_page(rect, pdf, 0)


def _print(document: pymupdf.Document, edit: Print) -> None:
    """An order, where it is to stand."""
    if edit.place == "metadata":
        document.set_metadata({**(document.metadata or {}), "title": edit.text, "keywords": edit.text})
        return
    page = _page(document, edit.page)
    if edit.place == "annotation":
        page.add_text_annot((page.rect.width / 2, 4), edit.text)
        return
    # One line, so that its words are read in order; smaller where the page is narrow.
    room = page.rect.width - 24
    natural = pymupdf.get_text_length(edit.text, fontname="helv", fontsize=1.0)
    size = 1.0 if edit.place == "tiny" else min(edit.size, room / natural)
    colour = (1, 1, 1) if edit.place == "white" else (0, 0, 0)
    page.insert_text((12, page.rect.height - 0.3 * size - 3), edit.text, fontname="helv", fontsize=size, color=colour)


def _blur(page: pymupdf.Page, radius: float) -> None:
    """Cover a page with a blurred picture of itself."""
    _cover(page, _drawn(page).filter(ImageFilter.GaussianBlur(radius * _DPI / 72)))


def _coarsen(page: pymupdf.Page, dpi: float) -> None:
    """Cover a page with a picture of itself of few dots, each the mean of what it covers, drawn as squares."""
    image = _drawn(page)
    few = (max(1, round(page.rect.width * dpi / 72)), max(1, round(page.rect.height * dpi / 72)))
    _cover(page, image.resize(few, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST))


def _drawn(page: pymupdf.Page) -> Image.Image:
    pixels = page.get_pixmap(dpi=_DPI, alpha=False)
    return Image.frombytes("RGB", (pixels.width, pixels.height), pixels.samples)


def _cover(page: pymupdf.Page, image: Image.Image) -> None:
    """Put a picture over all of a page: MuPDF reads words under a picture all the same."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    page.insert_image(page.rect, stream=buffer.getvalue(), keep_proportion=False)


def _turn(document: pymupdf.Document, degrees: float) -> None:
    """Turn all pages: by their own entry where the angle is right, else by drawing each anew."""
    if degrees % 90 == 0:
        for page in document:
            page.set_rotation(int(page.rotation + degrees) % 360)
        return
    with pymupdf.open("pdf", document.tobytes()) as upright:
        for number in range(document.page_count):
            _page(upright, number + 1)
        count = document.page_count
        for number, page in enumerate(upright):
            turned = document.new_page(width=page.rect.width, height=page.rect.height)
            turned.show_pdf_page(turned.rect, upright, number, rotate=-degrees)
        document.delete_pages(range(count))
