"""Pages of one tagged state by their ids, those asked for last in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from visor_core.documents.reader import Word
from visor_core.errors import SearchIndexError
from visor_core.index.corpus import quoted, rows
from visor_core.index.records import Document, Page, PageText

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
TEXT_COLUMNS = ("page_id", "document_id", "page", "text")
_REMEMBERED_PAGES = 4_096
_READ_AT_ONCE = 1_000
_T = TypeVar("_T")


class StoredPages:
    """Reads the table pages. Safe for threads."""

    def __init__(self, table: Any, documents: Mapping[str, Document], tag: str) -> None:
        self._table, self._documents, self._tag = table, documents, tag
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._texts: OrderedDict[str, PageText] = OrderedDict()
        self._lock = threading.Lock()

    def ids(self) -> list[str]:
        """The ids of all pages, in order."""
        return sorted(row["page_id"] for row in rows(self._table, ["page_id"]))

    def each(self) -> Iterator[Page]:
        """All pages by page id, a thousand in memory at a time."""
        for part in self._in_parts(PAGE_COLUMNS, self.ids()):
            yield from map(self._page_of, part)

    def each_text(self) -> Iterator[PageText]:
        """The text of all pages by page id, without their words."""
        for part in self._in_parts(TEXT_COLUMNS, self.ids()):
            yield from map(self._text_of, part)

    def pages(self, page_ids: Sequence[str]) -> dict[str, Page]:
        """Pages by id, from memory or the table.

        Raises:
            SearchIndexError: if one is not in the index.
        """
        return self._remembered(self._pages, page_ids, PAGE_COLUMNS, self._page_of)

    def texts(self, page_ids: Sequence[str]) -> dict[str, PageText]:
        """What of pages a search shows, by id; their words, which are many times larger, are not read.

        Raises:
            SearchIndexError: if one is not in the index.
        """
        return self._remembered(self._texts, page_ids, TEXT_COLUMNS, self._text_of)

    def _remembered(
        self,
        memory: OrderedDict[str, _T],
        page_ids: Sequence[str],
        columns: Sequence[str],
        made_of: Callable[[dict[str, Any]], _T],
    ) -> dict[str, _T]:
        found: dict[str, _T] = {}
        with self._lock:
            for page_id in page_ids:
                if page_id in memory:
                    memory.move_to_end(page_id)
                    found[page_id] = memory[page_id]
        missing = [page_id for page_id in page_ids if page_id not in found]
        if missing:
            found |= {row["page_id"]: made_of(row) for row in self._rows(columns, missing)}
        for page_id in page_ids:
            if page_id not in found:
                raise SearchIndexError(f"page {page_id} is not in index {self._tag!r}")
        with self._lock:
            for page_id in missing:
                memory[page_id] = found[page_id]
            while len(memory) > _REMEMBERED_PAGES:
                memory.popitem(last=False)
        return found

    def words(self, page_ids: Iterable[str]) -> dict[str, tuple[Word, ...]]:
        """The words of pages by their ids, many a query; a page that the index does not hold is absent."""
        parts = self._in_parts(("page_id", "words"), sorted(set(page_ids)))
        return {row["page_id"]: _words_of(row) for part in parts for row in part}

    def _in_parts(self, columns: Sequence[str], page_ids: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Rows of pages in the order of their ids, which are sorted, as many at once as a query reads."""
        for start in range(0, len(page_ids), _READ_AT_ONCE):
            found = self._rows(columns, page_ids[start : start + _READ_AT_ONCE])
            yield sorted(found, key=lambda row: row["page_id"])

    def _rows(self, columns: Sequence[str], page_ids: Sequence[str]) -> list[dict[str, Any]]:
        return rows(self._table, columns, f"page_id IN ({quoted(page_ids)})")

    def _page_of(self, row: dict[str, Any]) -> Page:
        document = self._documents[row["document_id"]]
        return Page(**{**row, "words": _words_of(row), "filename": document.name})

    def _text_of(self, row: dict[str, Any]) -> PageText:
        return PageText(**row, filename=self._documents[row["document_id"]].name)


def _words_of(row: Mapping[str, Any]) -> tuple[Word, ...]:
    return tuple(Word(w["text"], w["x0"], w["y0"], w["x1"], w["y1"]) for w in row["words"] or ())
