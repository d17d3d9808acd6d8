"""Small real documents for the tests of documents and index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pymupdf
from PIL import Image, ImageDraw


def write_pdf(
    path: Path,
    pages: Sequence[str],
    *,
    size: tuple[float, float] = (400, 300),
    rotation: int = 0,
    password: str = "",
    title: str = "",
) -> Path:
    """A PDF with one text a page, at (40, 60) in 14 pt, lines separated by newlines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = pymupdf.open()
    for text in pages:
        page = document.new_page(width=size[0], height=size[1])
        if text:
            page.insert_text((40, 60), text, fontsize=14)
        page.set_rotation(rotation)
    document.set_metadata({"title": title})
    options = {"encryption": pymupdf.PDF_ENCRYPT_AES_256, "user_pw": password} if password else {}
    document.save(path, no_new_id=True, **options)
    document.close()
    return path


def write_picture(path: Path, text: str = "", size: tuple[int, int] = (320, 200), **options: object) -> Path:
    """A white picture with a black square at the upper left and, if given, a text."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size[0] // 4, size[1] // 4), fill="black")
    if text:
        draw.text((size[0] // 3, size[1] // 2), text, fill="black", font_size=28)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path
