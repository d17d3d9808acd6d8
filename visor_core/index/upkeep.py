"""Keeping a corpus: verify what is stored, compact it, compare two tags.

`verify` is read-only and lists every fault it finds. `compact` frees what no tag that stays and no newest table version
needs; every state that a tag names stays readable. `difference` says what documents and pages two tags do not share.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from visor_core.documents.names import shown_names
from visor_core.documents.sources import document_id_of, readable_path, stored_path
from visor_core.errors import SearchIndexError
from visor_core.index.corpus import KEYS, Corpus, quoted, rows
from visor_core.index.cutting import cut_pages
from visor_core.index.pages import pages_version
from visor_core.index.records import page_id_of
from visor_core.index.register import DOCUMENT_COLUMNS, documents_version
from visor_core.index.retention import forget, retention
from visor_core.index.search import PageIndex
from visor_core.index.storage import clear_versions, merge_all
from visor_core.index.tags import Manifest, list_tags, read_manifest, store


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction freed, in bytes, and the tags it kept readable.

    `forgotten` are the tags that went. `alone` is false where somebody had the corpus open: then none did, and nothing
    was merged.
    """

    bytes_before: int
    bytes_after: int
    sources_removed: int
    tags: tuple[str, ...]
    forgotten: tuple[str, ...]
    alone: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """Documents by file name and the numbers of pages that two tags do not share."""

    documents_added: tuple[str, ...]
    documents_removed: tuple[str, ...]
    pages_added: int
    pages_removed: int
    pages_changed: int
    settings: dict[str, tuple[object, object]]


def verify(corpus: Corpus, tag: str = "latest", *, deep: bool = False) -> list[str]:
    """Faults of a tagged state, each a line; an empty list means none.

    Args:
        deep: also read every source again and compare it with its hash.
    """
    manifest = read_manifest(corpus, tag)
    tables = {name: corpus.table_at(name, version) for name, version in manifest.tables.items()}
    faults = []
    for name, key in KEYS.items():
        keys = tables[name].search().select([key]).limit(None).to_arrow()[key].to_pylist()
        if len(keys) != len(set(keys)):
            faults.append(f"table {name}: {len(keys) - len(set(keys))} keys stand twice")
        if len(keys) != manifest.counts[name]:
            faults.append(f"table {name}: {len(keys)} rows, the manifest says {manifest.counts[name]}")
    documents = rows(tables["documents"], DOCUMENT_COLUMNS)
    pages = rows(tables["pages"], ["page_id", "partition", "content_hash", "render_key"])
    faults += _page_faults(documents, {r["page_id"] for r in pages}, tables)
    if documents_version(documents) != manifest.documents_version:
        faults.append("table documents: its content hash is not the manifest's")
    if pages_version(pages) != manifest.pages_version:
        faults.append("table pages: its content hash is not the manifest's")
    for vector in manifest.vectors:
        empty = tables["pages"].count_rows(f"{vector.column} IS NULL")
        if empty:
            faults.append(f"table pages: {empty} pages have no vector of {vector.name}")
        if vector.statistics and not (corpus.root / "statistics" / vector.statistics).is_file():
            faults.append(f"the statistics {vector.statistics} of {vector.name} are missing")
    names = shown_names({r["document_id"]: (r["filename"], r["source_uri"]) for r in documents})
    for row in documents:
        path = stored_path(corpus.sources, row["document_id"])
        if not path.is_file():
            faults.append(f"{names[row['document_id']]}: its copy under sources/ is missing")
        elif not readable_path(corpus.sources, row["document_id"], row["media_type"]).is_file():
            if row["status"] == "ok":
                faults.append(f"{names[row['document_id']]}: the PDF made of it is missing: ingest it again")
        elif deep and document_id_of(path) != row["document_id"]:
            faults.append(f"{names[row['document_id']]}: its copy under sources/ is damaged")
    return faults


@dataclass(frozen=True, slots=True)
class Lacking:
    """What a tagged state does not hold of its documents, which is no fault of the index.

    Pages without content, quarantined documents, and pages whose end is not searched as (document, page, characters).
    """

    blank: int
    refused: int
    cut: tuple[tuple[str, int, int], ...]


def lacking(corpus: Corpus, tag: str = "latest") -> Lacking:
    """What is not in a tagged state."""
    manifest = read_manifest(corpus, tag)
    pages, documents, texts = (
        corpus.table_at(name, manifest.tables[name]) for name in ("pages", "documents", "page_texts")
    )
    return Lacking(
        int(pages.count_rows("problem != ''")),
        int(documents.count_rows("status != 'ok'")),
        cut_pages(texts, rows(documents, DOCUMENT_COLUMNS)),
    )


def _page_faults(documents: list[dict[str, Any]], page_ids: set[str], tables: dict[str, Any]) -> list[str]:
    """Pages missing, orphaned, without a picture or without full text."""
    faults = []
    names = shown_names({r["document_id"]: (r["filename"], r["source_uri"]) for r in documents})
    expected = {
        page_id_of(row["document_id"], page): names[row["document_id"]]
        for row in documents
        if row["status"] == "ok"
        for page in range(1, row["num_pages"] + 1)
    }
    missing = sorted({name for page_id, name in expected.items() if page_id not in page_ids})
    faults += [f"{name}: not all of its pages are there" for name in missing]
    if orphans := page_ids - set(expected):
        faults.append(f"table pages: {len(orphans)} pages belong to no readable document")
    for name in ("images", "page_texts", "passages"):
        held = set(tables[name].search().select(["page_id"]).limit(None).to_arrow()["page_id"].to_pylist())
        if held != page_ids:
            faults.append(f"table {name}: it covers {len(held & page_ids)} of {len(page_ids)} pages")
    return faults


def compact(corpus: Corpus, *, keep: int, named: Collection[str] = ()) -> Compaction:
    """Forget the tags that need not stay, and free what no tag and no newest version holds.

    Nothing is written anew that another tag holds as well, so that the corpus never becomes larger: where one state of
    a table is all that tags name, its small files and the parts of its indexes are merged and deleted rows go; the tags
    then name the merged state. While somebody reads the corpus, tags stay and nothing is merged.

    Args:
        corpus: where.
        keep: how many of the newest tags stay.
        named: tags that something stored names, which stay as well.

    Raises:
        SearchIndexError: if the corpus cannot be written, or a manifest is damaged.
    """
    with corpus.writing(), corpus.unread() as alone:
        before = _size(corpus.root)
        leaving = retention(corpus, keep, named).leaving if alone else ()
        forget(corpus, leaving)
        manifests = {tag: read_manifest(corpus, tag) for tag in list_tags(corpus)}
        for name in KEYS:
            needed = {m.tables[name] for m in manifests.values() if name in m.tables}
            clear_versions(corpus, name, needed)
            if alone and needed == {int(corpus.table(name).version)} and merge_all(corpus, name):
                manifests = {tag: _moved(corpus, tag, manifest, name) for tag, manifest in manifests.items()}
                clear_versions(corpus, name, {int(corpus.table(name).version)})
        removed = _remove_sources(corpus, manifests)
        return Compaction(before, _size(corpus.root), removed, tuple(manifests), leaving, alone)


def _moved(corpus: Corpus, tag: str, manifest: Manifest, name: str) -> Manifest:
    """A manifest that names the newest version of a table, stored in the place of the one that it was."""
    moved = replace(manifest, tables={**manifest.tables, name: int(corpus.table(name).version)})
    store(corpus, moved, (tag,))
    return moved


def _remove_sources(corpus: Corpus, manifests: dict[str, Manifest]) -> int:
    """Delete copies of documents that neither a tag nor the newest table knows, and crops older than a day."""
    known = {r["document_id"] for r in rows(corpus.table("documents"), ["document_id"])}
    for manifest in manifests.values():
        table = corpus.table_at("documents", manifest.tables["documents"])
        known |= {r["document_id"] for r in rows(table, ["document_id"])}
    removed = 0
    for path in corpus.sources.glob("??/*"):
        if path.name.partition(".")[0] not in known:
            path.unlink()
            removed += 1
    day_ago = time.time() - 86_400
    for crop in corpus.crops.glob("*/*"):
        if crop.stat().st_mtime < day_ago:
            crop.unlink()
    return removed


def delete_tag(corpus: Corpus, tag: str) -> None:
    """Forget a tag; its versions go with the next compaction. `latest` stays.

    Raises:
        SearchIndexError: if there is no such tag, or it is `latest`.
    """
    if tag == "latest":
        raise SearchIndexError("the tag `latest` always names the last build and is not deleted")
    read_manifest(corpus, tag)
    (corpus.tags / f"{tag}.json").unlink()


def difference(corpus: Corpus, old: str, new: str) -> Difference:
    """What changed from one tag to another."""
    manifests = read_manifest(corpus, old), read_manifest(corpus, new)
    documents, pages = [], []
    for manifest in manifests:
        table = corpus.table_at("documents", manifest.tables["documents"])
        found = rows(table, ["document_id", "filename", "source_uri", "status"])
        names = shown_names({r["document_id"]: (r["filename"], r["source_uri"]) for r in found})
        documents.append({r["document_id"]: names[r["document_id"]] for r in found if r["status"] == "ok"})
        table = corpus.table_at("pages", manifest.tables["pages"])
        pages.append({r["page_id"]: r["content_hash"] for r in rows(table, ["page_id", "content_hash"])})
    first, second = (m.settings | {"embedders": [v.spec for v in m.vectors]} for m in manifests)
    return Difference(
        documents_added=tuple(sorted(documents[1][i] for i in documents[1].keys() - documents[0].keys())),
        documents_removed=tuple(sorted(documents[0][i] for i in documents[0].keys() - documents[1].keys())),
        pages_added=len(pages[1].keys() - pages[0].keys()),
        pages_removed=len(pages[0].keys() - pages[1].keys()),
        pages_changed=sum(pages[0][i] != pages[1][i] for i in pages[0].keys() & pages[1].keys()),
        settings={k: (first.get(k), second.get(k)) for k in first | second if first.get(k) != second.get(k)},
    )


def approximate_recall(index: PageIndex, *, k: int = 10, samples: int = 20) -> float:
    """Recall@`k` of approximate vector search against exhaustive search, mean over sampled queries; 1 without an index.

    Queries are stored vectors of evenly spaced pages (of a multi-vector page, every eighth token): none need be
    embedded. Meant for an asset check.
    """
    shares = []
    page_ids = index.page_ids()
    chosen = page_ids[:: max(1, len(page_ids) // samples)][:samples]
    for vector in (v for v in index.manifest.vectors if v.indexed):
        for stored in index.vectors(vector, f"page_id IN ({quoted(chosen)})").values():
            query = stored[::8] if vector.multi_vector else stored
            if query.any():
                exact = {page_id for page_id, _ in index.nearest(vector, query, k, exhaustive=True)[:k]}
                found = {page_id for page_id, _ in index.nearest(vector, query, k)[:k]}
                shares.append(len(exact & found) / max(1, len(exact)))
    return sum(shares) / len(shares) if shares else 1.0


def _size(folder: Path) -> int:
    """Bytes under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
