"""The rows of the tables page_texts and passages: a page's text as a whole, and cut into windows.

Windows are stored as search terms in the language of their document, which is looked for in the text of all its pages
when one of them is cut, and is what its rows say until then; of two languages the one that stands more often counts.
A page longer than `index.page_characters` is searched by its beginning alone, and says so in its row: what one page
holds decides neither the size of the index nor whether it can be built.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from visor_core.config import IndexConfig
from visor_core.documents.names import shown_names
from visor_core.index.corpus import SCHEMAS, Corpus, append, delete_by, quoted, rows
from visor_core.index.languages import language_of
from visor_core.index.passages import normalised, passage_key, text_key, windows
from visor_core.index.ranking.context import paths, update_contexts
from visor_core.index.ranking.facts import MOST_TERMS
from visor_core.index.ranking.naming import file_words
from visor_core.index.ranking.wording import terms as compared_terms
from visor_core.index.terms import terms_of

PAGES_AT_ONCE = 4096
"""Pages whose rows are read, and written, at once."""
DETECTED, UNKNOWN = "auto", "none"
"""Settings of `documents.language` that name no language."""
_SAMPLED_PAGES = 40
_SAMPLED_CHARACTERS = 2_000
"""Pages of a document, evenly spread, and characters of each, that tell its language."""
FIRST = "passage_id LIKE '%#0000'"
"""The first passage of each page, which every page has."""
_COLUMNS = ("page_id", "document_id", "partition", "page", "text")


def context_of(document: dict[str, Any]) -> str:
    """Words that say which document a page belongs to: its title and its file name."""
    return " ".join(f"{document['title'] or ''} {file_words(document['filename'])}".split())


def update_texts(corpus: Corpus, readable: dict[str, dict[str, Any]], config: IndexConfig, language: str) -> None:
    """Write the text of pages anew whose content, document or settings changed; only while holding the corpus.

    Args:
        corpus: where.
        readable: rows of the table documents by id.
        config: sizes of the windows, and the longest text.
        language: `documents.language`: a code, `none` or `auto`.
    """
    document_of: dict[str, str] = {}
    wanted: dict[str, dict[str, str]] = {"page_texts": {}, "passages": {}}
    columns = ["page_id", "document_id", "content_hash", "section", "headings"]
    pages = sorted(rows(corpus.table("pages"), columns), key=lambda row: row["page_id"])
    sections = _sections(corpus, readable, pages)
    for row in pages:
        page_id, content = row["page_id"], f"{row['content_hash']} {config.page_characters}"
        document_of[page_id] = row["document_id"]
        context = f"{context_of(readable[row['document_id']])} {sections[page_id]}"
        wanted["page_texts"][page_id] = text_key(content, context)
        wanted["passages"][page_id] = passage_key(content, config.passage_words, config.passage_overlap, language)
    spoken = _languages(corpus, wanted["passages"], document_of, language)
    wanted["passages"] = {
        page_id: f"{key}-{spoken[document_of[page_id]]}" for page_id, key in wanted["passages"].items()
    }
    missing = {name: _without_stale(corpus, name, keys) for name, keys in wanted.items()}
    for chosen in by_commit(corpus.table("pages"), _COLUMNS, sorted(missing["page_texts"] | missing["passages"])):
        texts, cuts = [], []
        for page in chosen:
            page_id, document_id = page["page_id"], page["document_id"]
            searched = searched_part(page["text"], config.page_characters)
            common = {name: page[name] for name in _COLUMNS[:-1]}
            if page_id in missing["page_texts"]:
                row = _whole(searched, context_of(readable[document_id]), sections[page_id])
                row |= {"left_out": len(page["text"]) - len(searched), "text_key": wanted["page_texts"][page_id]}
                texts.append(common | row)
            if page_id in missing["passages"]:
                common |= {"passage_key": wanted["passages"][page_id], "language": spoken[document_id]}
                cut = windows(searched, config.passage_words, config.passage_overlap)
                # A page without words has a row as well, by which its key is known.
                for number, text in enumerate(cut or [""]):
                    terms = " ".join(terms_of(text, spoken[document_id]))
                    cuts.append({"passage_id": f"{page_id}#{number:04d}", "text": terms, **common})
        append(corpus.table("page_texts"), pa.Table.from_pylist(texts, schema=SCHEMAS["page_texts"]))
        append(corpus.table("passages"), pa.Table.from_pylist(cuts, schema=SCHEMAS["passages"]))


def _whole(searched: str, context: str, section: str) -> dict[str, Any]:
    """What of a page is searched as a whole, and the terms by which the ranking compares it with a question."""
    whole = normalised(f"{context} {section} {searched}" if searched.strip() else "")
    return {"text": whole, "terms": " ".join(compared_terms(whole)[:MOST_TERMS]), "section": section}


def _sections(corpus: Corpus, readable: dict[str, dict[str, Any]], pages: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Where each page lies in its document, by page id; what names the documents is read anew where pages changed."""
    of_document: dict[str, list[dict[str, Any]]] = {}
    for row in pages:
        of_document.setdefault(row["document_id"], []).append(row)
    update_contexts(corpus, readable, {i: [r["content_hash"] for r in found] for i, found in of_document.items()})
    sections: dict[str, str] = {}
    for found in of_document.values():
        sections |= paths([(r["page_id"], r["section"] or "", r["headings"] or ()) for r in found])
    return sections


def _languages(corpus: Corpus, wanted: dict[str, str], document_of: dict[str, str], language: str) -> dict[str, str]:
    """The language of each document: that of its rows, and of one with pages to cut the one that its text is in.

    Args:
        corpus: where.
        wanted: the key of each page's passages, without a language.
        document_of: the document of each page.
        language: the setting.
    """
    held: dict[str, tuple[str, str]] = {}
    for row in rows(corpus.table("passages"), ["page_id", "passage_key", "language"], FIRST):
        held[row["page_id"]] = row["passage_key"], row["language"]
    spoken: dict[str, str] = {}
    changed: set[str] = set()
    for page_id, key in wanted.items():
        stored, found = held.get(page_id, ("", ""))
        if stored == f"{key}-{found}":
            spoken[document_of[page_id]] = found
        else:
            changed.add(document_of[page_id])
    if language != DETECTED:
        return spoken | dict.fromkeys(changed, "" if language == UNKNOWN else language)
    return spoken | {document_id: _language_in(corpus, document_id) for document_id in sorted(changed)}


def _language_in(corpus: Corpus, document_id: str) -> str:
    """The language of a document by the beginnings of some of its pages."""
    pages = rows(corpus.table("pages"), ["page", "text"], f"document_id = {quoted([document_id])}")
    texts = [row["text"] for row in sorted(pages, key=lambda row: row["page"]) if row["text"].strip()]
    step = max(1, len(texts) // _SAMPLED_PAGES)
    return language_of("\n".join(text[:_SAMPLED_CHARACTERS] for text in texts[::step]))


def languages_of(corpus: Corpus) -> list[str]:
    """The languages that passages are indexed in, the one of most rows first; "" where it is not known."""
    found = corpus.table("passages").search().select(["language"]).limit(None).to_arrow()["language"]
    counts = {pair["values"]: pair["counts"] for pair in found.value_counts().to_pylist()}
    return sorted(counts, key=lambda language: (-counts[language], language))


def cut_pages(page_texts: Any, documents: Sequence[dict[str, Any]]) -> tuple[tuple[str, int, int], ...]:
    """Pages whose end is not searched, as (document, page, characters left out).

    Args:
        page_texts: that table, at any version.
        documents: rows of the table documents.
    """
    names = shown_names({row["document_id"]: (row["filename"], row["source_uri"]) for row in documents})
    found = rows(page_texts, ["document_id", "page", "left_out"], "left_out > 0")
    return tuple(sorted((names[row["document_id"]], row["page"], row["left_out"]) for row in found))


def searched_part(text: str, characters: int) -> str:
    """A text up to a number of characters, cut between words where there are any.

    >>> searched_part("net revenue rose", 13), searched_part("revenue", 3)
    ('net revenue ', 'rev')
    """
    if len(text) <= characters:
        return text
    cut = text[:characters]
    return cut[: max((place for place in map(cut.rfind, " \n") if place >= 0), default=characters - 1) + 1]


def _without_stale(corpus: Corpus, name: str, wanted: dict[str, str]) -> set[str]:
    """Delete the rows of a table whose key is not the one wanted; returns the pages that have no row then."""
    table, key = corpus.table(name), "text_key" if name == "page_texts" else "passage_key"
    # A killed writer leaves either all rows of a page or none, as they are written in one commit.
    held = {row["page_id"]: row[key] for row in rows(table, ["page_id", key], FIRST if name == "passages" else "")}
    stale = {page_id for page_id, found in held.items() if wanted.get(page_id) != found}
    delete_by(table, "page_id", stale)
    return set(wanted) - (set(held) - stale)


def by_commit(table: Any, columns: Sequence[str], page_ids: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Rows of the table pages, as many at once as a commit takes, in the order of `page_ids`, which are sorted."""
    for start in range(0, len(page_ids), PAGES_AT_ONCE):
        chosen = page_ids[start : start + PAGES_AT_ONCE]
        yield sorted(rows(table, columns, f"page_id IN ({quoted(chosen)})"), key=lambda row: row["page_id"])
