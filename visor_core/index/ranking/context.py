"""What tells a page's document and its place in it: cover, running header, and the path of headings above the page.

These words stand on few of a document's pages, and questions use them ("Acme's revenue in 2018"). A document's are kept
in the table documents and read by `naming`; a page's path is kept with its passages.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from visor_core.index.corpus import SCHEMAS, Corpus, quoted, rows, upsert

_VERSION = 1
_FRONT_WORDS = 150
"""Words of the first page with text that may name the document."""
_HEADER_SHARE, _FEWEST_HEADERS = 0.3, 3
"""A line is a running header if it stands at an edge of so many of the pages."""
_HEADER_LETTERS = 120
_AT_ONCE = 64
"""Documents whose pages are in memory at once."""


@dataclass(frozen=True, slots=True)
class ReadPage:
    """What is read of a page for its document's context; pages come in order."""

    page: int
    text: str
    headings: Sequence[str]


@dataclass(frozen=True, slots=True)
class DocumentContext:
    """Words that name a document beside its file name and its title."""

    cover: str
    """The headings of its first page with text."""
    header: str
    """Lines that stand at the edges of many pages."""
    front: str
    """The first words of that first page."""


def context_of_pages(pages: Sequence[ReadPage]) -> DocumentContext:
    """The context of a document by its pages."""
    first = next((page for page in pages if page.text.strip()), None)
    if first is None:
        return DocumentContext("", "", "")
    edges: Counter[str] = Counter()
    written: dict[str, str] = {}
    for page in pages:
        lines = [line for line in page.text.splitlines() if line.strip()]
        for line in {*lines[:2], *lines[-2:]}:
            key = re.sub(r"[\W\d_]+", " ", line).strip().lower()
            if key and len(line) <= _HEADER_LETTERS:
                edges[key] += 1
                written.setdefault(key, line)
    enough = max(_FEWEST_HEADERS, _HEADER_SHARE * len(pages))
    header = "\n".join(written[key] for key, count in edges.most_common(4) if count >= enough)
    return DocumentContext("\n".join(first.headings), header, " ".join(first.text.split()[:_FRONT_WORDS]))


def paths(pages: Sequence[tuple[str, str, Sequence[str]]]) -> dict[str, str]:
    """Where each page of a document lies in it, by page id: its outline's path, or the headings above it; and its own.

    Args:
        pages: (page id, path in the outline, headings) in the order of the pages.
    """
    found: dict[str, str] = {}
    above: Sequence[str] = ()
    for page_id, section, headings in pages:
        path = [section] if section else [*above]
        found[page_id] = " › ".join(dict.fromkeys(part for part in (*path, *headings) if part))
        above = headings[-1:] or above
    return found


def update_contexts(corpus: Corpus, readable: Collection[str], hashes: Mapping[str, Sequence[str]]) -> None:
    """Write the contexts of documents whose pages changed.

    Args:
        readable: document ids.
        hashes: content hashes of each document's pages.
    """
    table = corpus.table("documents")
    held = {r["document_id"]: r["context_key"] for r in rows(table, ["document_id", "context_key"])}
    wanted = {i: _key(hashes.get(i, ())) for i in readable}
    stale = sorted(i for i, key in wanted.items() if held.get(i) != key)
    columns = ("document_id", "cover", "header", "front", "context_key")
    schema = pa.schema([SCHEMAS["documents"].field(name) for name in columns])
    records = []
    for document_id, pages in _pages(corpus, stale):
        context = context_of_pages(pages)
        records.append(
            {
                "document_id": document_id,
                "cover": context.cover,
                "header": context.header,
                "front": context.front,
                "context_key": wanted[document_id],
            }
        )
    upsert(table, pa.Table.from_pylist(records, schema=schema))


def _key(hashes: Sequence[str]) -> str:
    return hashlib.sha256(" ".join([str(_VERSION), *sorted(hashes)]).encode()).hexdigest()[:16]


def _pages(corpus: Corpus, document_ids: Sequence[str]) -> Iterator[tuple[str, list[ReadPage]]]:
    """Documents with their pages in order; one without a page too."""
    table = corpus.table("pages")
    for start in range(0, len(document_ids), _AT_ONCE):
        chosen = document_ids[start : start + _AT_ONCE]
        found: dict[str, list[dict[str, Any]]] = {document_id: [] for document_id in chosen}
        condition = f"document_id IN ({quoted(chosen)})"
        for row in rows(table, ["document_id", "page", "text", "headings"], condition):
            found[row["document_id"]].append(row)
        for document_id, pages in found.items():
            pages.sort(key=lambda row: int(row["page"]))
            yield document_id, [ReadPage(r["page"], r["text"] or "", r["headings"] or ()) for r in pages]
