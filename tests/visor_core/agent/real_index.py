"""A small real corpus: PDFs written with PyMuPDF, registered, rasterised and indexed by LanceDB."""

from __future__ import annotations

from pathlib import Path

import pymupdf

from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages

SEGMENTS = {"Pumps": 412, "Valves": 268, "Seals": 97, "Service": 155}


def write_report(path: Path) -> None:
    """Two pages: a letter with large type, and a bar chart whose numbers are small print."""
    document = pymupdf.open()
    letter = document.new_page(width=612, height=792)
    letter.insert_text((60, 90), "Norvik Pumps annual report 2024", fontsize=24)
    text = (
        "Dear shareholders, Norvik Pumps closed the year with revenue of 932 million crowns. Order intake rose in "
        "every segment except Seals. Revenue by segment is shown on the next page. The board proposes a dividend of "
        "4.20 crowns a share. We employed 3,118 people at the end of the year, of whom 412 in research."
    )
    letter.insert_textbox((60, 130, 550, 420), text, fontsize=14)
    chart = document.new_page(width=612, height=792)
    chart.insert_text((60, 90), "Revenue by segment, 2024", fontsize=24)
    colours = [(0.16, 0.42, 0.66), (0.9, 0.52, 0.14), (0.32, 0.6, 0.36), (0.6, 0.38, 0.62)]
    for i, ((name, value), colour) in enumerate(zip(SEGMENTS.items(), colours, strict=True)):
        x = 100 + i * 110
        chart.draw_rect((x, 600 - value, x + 70, 600), color=colour, fill=colour)
        chart.insert_text((x + 10, 620), name, fontsize=12)
        chart.insert_text((x + 24, 595 - value), str(value), fontsize=7)
    chart.draw_line((80, 600), (540, 600))
    chart.insert_text((60, 660), "Million crowns. Source: group accounts.", fontsize=8)
    _save(document, path)


def write_letter(path: Path, title: str, text: str) -> None:
    """One page of text."""
    document = pymupdf.open()
    page = document.new_page(width=595, height=842)
    page.insert_text((60, 90), title, fontsize=22)
    page.insert_textbox((60, 120, 530, 700), text, fontsize=13)
    _save(document, path)


def open_index(folder: Path, files: list[Path]) -> PageIndex:
    """Register, rasterise and index some files."""
    corpus = Corpus(folder)
    register_documents(corpus, files, DocumentsConfig(workers=1))
    render_pages(corpus, DocumentsConfig(workers=1))
    config = IndexConfig()
    build_index(corpus, config, load_embedders(config))
    return PageIndex.open(folder)


def _save(document: pymupdf.Document, path: Path) -> None:
    document.set_metadata({})
    document.save(path)
    document.close()
