"""Small documents for the tests of stress: reports with figures, one of them a scan with invisible words."""

from __future__ import annotations

from pathlib import Path

import pymupdf

from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.documents.reader import Word, open_document
from visor_core.geometry import Box
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages

STAFF = {"acme": "4,712", "borel": "3,108", "cyan": "2,964"}


def write_report(path: Path, company: str, staff: str, *, rotation: int = 0) -> Path:
    """Two pages: a cover, and a page with the number of employees beside other figures, each placed by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pymupdf.open() as document:
        cover = document.new_page(width=400, height=500)
        cover.insert_text((40, 60), f"{company} annual report", fontsize=18)
        page = document.new_page(width=400, height=500)
        for x, text in ((40, f"{company} employed"), (160, staff), (210, "people")):
            page.insert_text((x, 60), text, fontsize=14)
        for x, text in ((40, "revenue"), (90, "932"), (120, "million, dividend"), (240, "4.20")):
            page.insert_text((x, 90), text, fontname="tiro", fontsize=11)
        page.draw_rect((40, 200, 200, 300), fill=(0.2, 0.4, 0.7))
        page.set_rotation(rotation)
        document.set_metadata({})
        document.save(path, no_new_id=True)
    return path


def write_scan(path: Path, company: str, staff: str) -> Path:
    """The same as a picture over invisible words."""
    drawn = write_report(path.with_suffix(".drawn.pdf"), company, staff)
    with pymupdf.open(drawn) as source, pymupdf.open() as document:
        for page in source:
            scan = document.new_page(width=page.rect.width, height=page.rect.height)
            scan.insert_image(scan.rect, pixmap=page.get_pixmap(dpi=144))
            for block in page.get_text("dict")["blocks"]:
                for line in block.get("lines", ()):
                    for span in line["spans"]:
                        scan.insert_text(span["origin"], span["text"], fontsize=span["size"], render_mode=3)
        document.set_metadata({})
        document.save(path, no_new_id=True)
    drawn.unlink()
    return path


def open_index(folder: Path, files: list[Path]) -> PageIndex:
    """Register, rasterise and index some files."""
    corpus, config = Corpus(folder), IndexConfig()
    reading = DocumentsConfig(workers=1, ocr="never", dpi=72)
    register_documents(corpus, files, reading)
    render_pages(corpus, reading)
    build_index(corpus, config, load_embedders(config))
    return PageIndex.open(folder)


def words_of(path: Path, page: int) -> list[Word]:
    """The words of a page, as the project reads them."""
    document = open_document(path)
    try:
        return [word for block in document.words(page) for word in block]
    finally:
        document.close()


def box_of(path: Path, page: int, text: str) -> Box:
    """Where a word stands."""
    (found,) = [word for word in words_of(path, page) if word.text == text]
    return Box(*found[1:])
