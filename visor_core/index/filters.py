"""What a search is restricted to, as a condition over the tables pages and passages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from visor_core.documents.names import composed, goes_by
from visor_core.errors import SearchIndexError
from visor_core.index.corpus import quoted
from visor_core.index.records import Document, parse_pages


@dataclass(frozen=True, slots=True)
class Filters:
    """Restrictions of one search, all of which hold; the defaults restrict nothing.

    `partition` is "" for all; `document` is an id or a file name, alone or after its folders, and a name that repeats
    stands for all that have it; `pages` is a range such as `3-7`, or (first, last).
    """

    partition: str = ""
    document: str | None = None
    pages: str | tuple[int, int] | None = None

    def documents(self, known: Mapping[str, Document]) -> list[Document]:
        """The documents that the filter `document` names; all of them where there is no such filter."""
        if self.document is None:
            return list(known.values())
        return [document for document in known.values() if is_meant(document, self.document)]

    def condition(self, known: Mapping[str, Document], tag: str) -> str:
        """The filters as an SQL condition; "" where there are none.

        Raises:
            SearchIndexError: if a filter names nothing, or is none.
        """
        parts = []
        if self.partition:
            parts.append(f"partition = {quoted([self.partition])}")
        if self.document is not None:
            ids = [document.document_id for document in self.documents(known)]
            if not ids:
                raise SearchIndexError(f"no document {self.document[:100]!r} in index {tag!r}")
            parts.append(f"document_id IN ({quoted(sorted(ids))})")
        if self.pages is not None:
            given = self.pages
            ranges = parse_pages(given) if isinstance(given, str) else [(int(given[0]), int(given[1]))]
            clauses = [f"page >= {a}" if b is None else f"(page >= {a} AND page <= {b})" for a, b in ranges]
            parts.append(f"({' OR '.join(clauses)})")
        return " AND ".join(parts)


def is_meant(document: Document, name: str) -> bool:
    """Whether a filter names a document."""
    return (
        name == document.document_id
        or composed(name) == document.name
        or goes_by(name, document.filename, document.source_uri)
    )
