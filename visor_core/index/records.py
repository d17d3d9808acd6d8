"""What the index returns: documents, pages and hits; and the parser of page ranges used as a filter."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from visor_core.documents.reader import Word
from visor_core.errors import SearchIndexError


@dataclass(frozen=True, slots=True)
class Document:
    """One row of the table `documents`; `status` is `ok` or `quarantined`, the latter with its `reason`.

    `filename` is the file's own name; `name` is shown: where names repeat, with the folders that tell them apart.
    `metadata` are lines `key=value`.
    """

    document_id: str
    filename: str
    source_uri: str
    partition: str
    media_type: str
    num_bytes: int
    num_pages: int
    title: str
    status: str
    reason: str
    metadata: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One page: sizes in points, words in page-normalised floats, pictures by `PageIndex`.

    `filename` is its document's name as it is shown: where names repeat, with the folders that tell them apart.
    `text_source` is `layer`, `ocr` or `none`; `problem` says why a page could not be read, and is empty otherwise.
    """

    page_id: str
    document_id: str
    filename: str
    partition: str
    page: int
    width_pt: float
    height_pt: float
    rotation: int
    text: str
    text_source: str
    words: tuple[Word, ...] = field(repr=False)
    image_width: int
    image_height: int
    dpi: float
    problem: str


@dataclass(frozen=True, slots=True)
class PageText:
    """What of a page a search shows."""

    page_id: str
    document_id: str
    filename: str
    page: int
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A page found by a search, best first. Scores compare within one search only.

    `filename` is the document's name as it is shown, with folders where names repeat.
    `ranks` says where each source of the ranking (`text`, `passages`, a vector column) had the page, from 1.
    """

    page_id: str
    document_id: str
    filename: str
    page: int
    score: float
    snippet: str
    ranks: dict[str, int] = field(default_factory=dict)


def page_id_of(document_id: str, page: int) -> str:
    """`{document_id}/{page:05d}`, pages 1-based."""
    return f"{document_id}/{page:05d}"


def split_page_id(page_id: str) -> tuple[str, int]:
    """Document id and page number of a page id.

    Raises:
        SearchIndexError: if it is not one.
    """
    document_id, slash, page = page_id.rpartition("/")
    # Digits beyond the five must be needed, so that a page has one id.
    if not slash or not document_id or not re.fullmatch(r"[0-9]{5}|[1-9][0-9]{5,8}", page):
        raise SearchIndexError(f"{page_id!r} is no page id: it should look like <document id>/00001")
    return document_id, int(page)


def parse_pages(text: str) -> list[tuple[int, int | None]]:
    """A page filter such as `3`, `3-7`, `-7`, `10-` or `1,4-6` as inclusive ranges (None: to the end).

    Raises:
        SearchIndexError: naming the part that is not a page or a range.
    """
    ranges: list[tuple[int, int | None]] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,7})?\s*(-)?\s*([0-9]{1,7})?\s*", part)
        if match is None or not (match[1] or match[3]) or (match[1] and match[3] and not match[2]):
            raise SearchIndexError(f"{part.strip()[:40]!r} is no page or range of pages: write 3, 3-7, 10- or 1,4-6")
        first = int(match[1] or 1)
        last = int(match[3]) if match[3] else (None if match[2] else first)
        if first < 1 or (last is not None and last < first):
            raise SearchIndexError(f"{part.strip()[:40]!r} is no range of pages: it must run upwards from 1")
        ranges.append((first, last))
    return ranges
