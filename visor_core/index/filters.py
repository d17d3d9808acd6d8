"""What a search is restricted to, as a condition over the tables pages and passages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from visor_core.documents.names import composed, goes_by
from visor_core.errors import SearchIndexError
from visor_core.index.corpus import quoted
from visor_core.index.records import Document, parse_pages
from visor_core.metadata import parse_condition


@dataclass(frozen=True, slots=True)
class Filters:
    """Restrictions of one search, all of which hold; the defaults restrict nothing.

    `partition` is "" for all; `document` is an id or a file name, alone or after its folders, and a name that repeats
    stands for all that have it; `pages` is a range such as `3-7`, or (first, last); `where` are conditions over the
    documents' metadata.
    """

    partition: str = ""
    document: str | None = None
    pages: str | tuple[int, int] | None = None
    where: tuple[str, ...] = ()

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
        if self.where:
            parts.append(within(fitting(known, self.where), known))
        if self.pages is not None:
            given = self.pages
            ranges = parse_pages(given) if isinstance(given, str) else [(int(given[0]), int(given[1]))]
            clauses = [f"page >= {a}" if b is None else f"(page >= {a} AND page <= {b})" for a, b in ranges]
            parts.append(f"({' OR '.join(clauses)})")
        return " AND ".join(parts)


def fitting(known: Mapping[str, Document], where: Sequence[str]) -> set[str]:
    """The ids of the documents for which all conditions hold.

    Raises:
        ConfigError: if one is none.
    """
    conditions = [parse_condition(text) for text in where]
    return {i for i, d in known.items() if all(c.holds(d.metadata, d.source_uri) for c in conditions)}


def within(ids: Collection[str], known: Collection[str]) -> str:
    """A restriction to some of the documents there are, as an SQL condition, by those left out where they are fewer."""
    if 2 * len(ids) <= len(known):
        return f"document_id IN ({quoted(sorted(ids))})" if ids else "false"
    left_out = sorted(set(known) - set(ids))
    return f"document_id NOT IN ({quoted(left_out)})" if left_out else "true"


def is_meant(document: Document, name: str) -> bool:
    """Whether a filter names a document."""
    return (
        name == document.document_id
        or composed(name) == document.name
        or goes_by(name, document.filename, document.source_uri)
    )
