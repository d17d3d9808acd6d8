"""Pages of one tagged state by their ids, those asked for last in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from visor_core.documents.reader import Word
from visor_core.errors import SearchIndexError
from visor_core.index.corpus import quoted, rows
from visor_core.index.records import Document, Page

PAGE_COLUMNS = (
    "page_id",
    "document_id",
    "partition",
    "page",
    "width_pt",
    "height_pt",
    "rotation",
    "text",
    "text_source",
    "words",
    "image_width",
    "image_height",
    "dpi",
    "problem",
)
_REMEMBERED_PAGES = 4_096


class StoredPages:
    """Reads the table pages. Safe for threads."""

    def __init__(self, table: Any, documents: Mapping[str, Document], tag: str) -> None:
        self._table, self._documents, self._tag = table, documents, tag
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._lock = threading.Lock()

    def ids(self) -> list[str]:
        """The ids of all pages, in order."""
        return sorted(row["page_id"] for row in rows(self._table, ["page_id"]))

    def pages(self, page_ids: Sequence[str]) -> dict[str, Page]:
        """Pages by id, from memory or the table.

        Raises:
            SearchIndexError: if one is not in the index.
        """
        found: dict[str, Page] = {}
        with self._lock:
            for page_id in page_ids:
                if page_id in self._pages:
                    self._pages.move_to_end(page_id)
                    found[page_id] = self._pages[page_id]
        missing = [page_id for page_id in page_ids if page_id not in found]
        if missing:
            for row in rows(self._table, PAGE_COLUMNS, f"page_id IN ({quoted(missing)})"):
                found[row["page_id"]] = self._page_of(row)
        for page_id in page_ids:
            if page_id not in found:
                raise SearchIndexError(f"page {page_id} is not in index {self._tag!r}")
        with self._lock:
            for page_id in missing:
                self._pages[page_id] = found[page_id]
            while len(self._pages) > _REMEMBERED_PAGES:
                self._pages.popitem(last=False)
        return found

    def _page_of(self, row: dict[str, Any]) -> Page:
        words = tuple(Word(w["text"], w["x0"], w["y0"], w["x1"], w["y1"]) for w in row["words"] or ())
        document = self._documents[row["document_id"]]
        return Page(**{**row, "words": words, "filename": document.name})
