"""The rows of the table passages: pages cut into windows, each document in its language.

A document's language is looked for when one of its pages is cut, in the text of all its pages; until then it is what
its rows say. Leaves out documents of two languages: they are taken for the one that stands more often.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from visor_core.config import IndexConfig
from visor_core.index.corpus import SCHEMAS, Corpus, delete_by, quoted, rows, upsert
from visor_core.index.languages import language_of
from visor_core.index.passages import normalised, passage_key, windows
from visor_core.index.terms import terms_of

DETECTED = "auto"
"""The setting `documents.language` that has the language of each document looked for."""
_SAMPLED_PAGES = 40
"""Pages of a document, evenly spread, whose text tells its language."""


def context_of(document: dict[str, Any]) -> str:
    """Words that say which document a page belongs to: its title and its file name."""
    stem = Path(document["filename"]).stem.replace("_", " ").replace("-", " ")
    title = str(document["title"] or "")
    return " ".join(f"{title} {stem}".split())


def update_passages(
    corpus: Corpus, readable: dict[str, dict[str, Any]], config: IndexConfig, language: str, batch: int
) -> None:
    """Cut passages anew for pages whose text, language or settings changed.

    Args:
        corpus: where; held for writing.
        readable: rows of the table documents by id.
        config: sizes of the windows.
        language: `documents.language`: a code, `none` or `auto`.
        batch: pages a commit.
    """
    table = corpus.table("passages")
    columns = ["page_id", "document_id", "passage_key", "language"]
    held = {r["page_id"]: (r["passage_key"], r["language"], r["document_id"]) for r in rows(table, columns)}
    wanted: dict[str, str] = {}
    document_of: dict[str, str] = {}
    for row in rows(corpus.table("pages"), ["page_id", "document_id", "content_hash"]):
        context = context_of(readable[row["document_id"]])
        size, overlap = config.passage_words, config.passage_overlap
        wanted[row["page_id"]] = passage_key(row["content_hash"], context, size, overlap, language)
        document_of[row["page_id"]] = row["document_id"]
    changed = {i for page_id, i in document_of.items() if held.get(page_id, ("",))[0] != wanted[page_id]}
    spoken = {i: found for _, found, i in held.values() if i not in changed}
    spoken |= _languages(corpus, changed, language)
    stale = {
        page_id
        for page_id, (key, found, document_id) in held.items()
        if wanted.get(page_id) != key or found != spoken[document_id]
    }
    delete_by(table, "page_id", stale)
    missing = sorted(set(wanted) - (set(held) - stale))
    for pages in by_commit(corpus.table("pages"), _COLUMNS, missing, batch):
        records = [
            record
            for page in pages
            for record in _records(
                page, readable[page["document_id"]], config, wanted[page["page_id"]], spoken[page["document_id"]]
            )
        ]
        upsert(table, pa.Table.from_pylist(records, schema=SCHEMAS["passages"]))


_COLUMNS = ("page_id", "document_id", "partition", "page", "text")


def _records(
    page: dict[str, Any], document: dict[str, Any], config: IndexConfig, key: str, language: str
) -> Iterator[dict[str, Any]]:
    """The rows of one page: the whole of it for n-grams, then its windows as search terms."""
    text = page["text"]
    common = {name: page[name] for name in ("page_id", "document_id", "partition", "page")}
    common |= {"passage_key": key, "language": language}
    whole = normalised(f"{context_of(document)} {text}" if text.strip() else "")
    cut = windows(text, config.passage_words, config.passage_overlap)
    texts: list[tuple[str | None, str | None]] = [(None, whole)]
    texts += [(" ".join(terms_of(window, language)), None) for window in cut]
    for number, (terms, page_text) in enumerate(texts):
        yield {"passage_id": f"{page['page_id']}#{number:04d}", "text": terms, "page_text": page_text, **common}


def _languages(corpus: Corpus, documents: Iterable[str], language: str) -> dict[str, str]:
    """The language of each document: the one that is set, or the one that its text is in."""
    if language != DETECTED:
        return dict.fromkeys(documents, "" if language == "none" else language)
    found: dict[str, str] = {}
    table = corpus.table("pages")
    for document_id in sorted(documents):
        pages = rows(table, ["page", "text"], f"document_id = {quoted([document_id])}")
        texts = [row["text"] for row in sorted(pages, key=lambda row: row["page"]) if row["text"].strip()]
        step = max(1, len(texts) // _SAMPLED_PAGES)
        found[document_id] = language_of("\n".join(text[:2_000] for text in texts[::step]))
    return found


def languages_of(corpus: Corpus) -> list[str]:
    """The languages that the passages are indexed in, the one of most rows first; "" where it is not known."""
    found = corpus.table("passages").search().select(["language"]).limit(None).to_arrow()["language"]
    counts = {pair["values"]: pair["counts"] for pair in found.value_counts().to_pylist()}
    return sorted(counts, key=lambda language: (-counts[language], language))


def by_commit(
    table: Any, columns: Sequence[str], page_ids: Sequence[str], batch: int
) -> Iterator[list[dict[str, Any]]]:
    """Rows of the table pages, `batch` at once, in the order of `page_ids`, which are sorted."""
    for start in range(0, len(page_ids), batch):
        chosen = page_ids[start : start + batch]
        yield sorted(rows(table, columns, f"page_id IN ({quoted(chosen)})"), key=lambda row: row["page_id"])
