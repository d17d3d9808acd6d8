"""Text in the nano world's PDFs: as vector outlines, so that a picture shows it and the text layer does not hold it."""

from __future__ import annotations

from functools import cache

import pymupdf

FONT = "hebo"


def text_width(text: str, size: float) -> float:
    """Width in points of one line."""
    return float(pymupdf.get_text_length(text, fontname=FONT, fontsize=size))


@cache
def _outline(text: str, size: float) -> tuple[bytes, float]:
    """A one-page PDF of `text` as vector outlines (nothing in its text layer), and its width in points."""
    width = pymupdf.get_text_length(text, fontname=FONT, fontsize=size)
    with pymupdf.open() as document:
        page = document.new_page(width=width, height=size * 1.2)
        page.insert_text((0, size * 0.95), text, fontname=FONT, fontsize=size)
        svg = page.get_svg_image(text_as_path=True)
    with pymupdf.open(stream=svg.encode(), filetype="svg") as drawing:
        return drawing.convert_to_pdf(), width


def stamp(page: pymupdf.Page, text: str, x: float, top: float, size: float) -> None:
    """Draw a line of text as outlines, its box's upper left corner at (x, top) in points."""
    data, width = _outline(text, size)
    with pymupdf.open("pdf", data) as drawing:
        page.show_pdf_page(pymupdf.Rect(x, top, x + width, top + size * 1.2), drawing, 0)
