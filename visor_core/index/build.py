"""Asset `page_index`: pages → passages, full text indexes, vector columns, and a published tag.

Every step looks at what is missing, so a re-run over unchanged pages writes nothing and publishes the same version.
Full text indexes are rebuilt whenever rows changed: their scores then depend on content, not on the order of edits.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.documents.names import shown_names
from visor_core.files import whole_file
from visor_core.index.columns import embed_drawable, key_column, stale_columns, vector_array, vector_type
from visor_core.index.corpus import KEYS, Corpus, delete_by, quoted, rows
from visor_core.index.cutting import by_commit, context_of, cut_pages, languages_of, update_texts
from visor_core.index.embedders.base import Embedder, PageInput, Vector, column_of
from visor_core.index.indexes import NGRAM, index_on, unindexed, update_indexes
from visor_core.index.page_pictures import PagePictures
from visor_core.index.pages import pages_version
from visor_core.index.rarity import sampled, write_rarity
from visor_core.index.records import split_page_id
from visor_core.index.register import DOCUMENT_COLUMNS, documents_version
from visor_core.index.settings import hold_settings, reading_settings
from visor_core.index.storage import add_part
from visor_core.index.tags import Manifest, VectorColumn, check_tag, list_tags, publish, read_manifest
from visor_core.index.validating import Progress

INDEX_FORMAT = 5
_EMBED_BATCH = 64
"""Pages given to an embedder at once."""
_PAGES_A_COMMIT = 4096
_BYTES_A_COMMIT = 64 * 2**20
_RETRAINED_SHARE = 0.1
"""Share of vectors that an approximate index was not trained with, above which it is made anew."""
_SECONDS_A_COMMIT = 30.0
"""A commit takes time in proportion to the table, so one for every batch would make a build quadratic in its pages; a
kill costs what was embedded since the last one."""


@dataclass(frozen=True)
class IndexReport:
    """What a build did. `changed` is false if the tag already named this content.

    `undrawn` are pages that an embedder could not be shown, as (document, page, embedder, reason): they have no vector
    of it, and the next build tries again. `cut` are pages that are longer than `index.page_characters`, as (document,
    page, characters that are not searched).
    """

    index_tag: str
    data_version: str
    documents: int
    pages: int
    passages: int
    vectors: dict[str, int]
    embedded: int
    changed: bool
    undrawn: tuple[tuple[str, int, str, str], ...] = ()
    cut: tuple[tuple[str, int, int], ...] = ()


def build_index(
    corpus: Corpus,
    config: IndexConfig,
    embedders: Sequence[Embedder],
    *,
    tag: str | None = None,
    progress: Progress | None = None,
    documents: DocumentsConfig | None = None,
    drop: Collection[str] = (),
) -> IndexReport:
    """Bring passages, full text and vectors in line with the table pages, then publish a tag.

    Args:
        corpus: where.
        config: passages, limits, default mode.
        embedders: a vector column each.
        tag: name to publish under; none names it after the content (`index-<data version>`). `latest` always follows.
        progress: called as pages are embedded.
        documents: how they were rendered: for pages an embedder wants drawn from the source (`index.embed_pixels`);
            none takes the corpus's settings.
        drop: columns that may go where none of the embedders fills them; `EVERY_COLUMN` stands for all.

    Raises:
        SearchIndexError: if a column of another embedder is there and not to be dropped, or the corpus keeps other
            settings.
    """
    if tag is not None:
        check_tag(tag)
    with corpus.writing():
        hold_settings(corpus, index=config)
        reading = documents or reading_settings(corpus, None)
        stale = stale_columns(corpus, embedders, drop)
        registered = rows(corpus.table("documents"), DOCUMENT_COLUMNS)
        readable = {r["document_id"]: r for r in registered if r["status"] == "ok"}
        _drop_unreadable(corpus, readable)
        update_texts(corpus, readable, config, reading.language)
        with closing(PagePictures(corpus, readable, config, reading)) as source:
            filled = [_fill_column(corpus, e, readable, source, config, progress) for e in embedders]
        if stale:
            corpus.table("pages").drop_columns(stale)
        update_indexes(corpus)
        vectors = tuple(_vector_column(corpus, e, config) for e in embedders)
        manifest = _manifest(corpus, registered, vectors, config, reading.renderer, tag)
        changed = not _published(corpus, manifest)
        if changed:
            publish(corpus, manifest)
    return IndexReport(
        index_tag=manifest.tag,
        data_version=manifest.data_version,
        documents=len(readable),
        pages=manifest.counts["pages"],
        passages=manifest.counts["passages"],
        vectors={v.column: manifest.counts["pages"] - len(f.undrawn) for v, f in zip(vectors, filled, strict=True)},
        embedded=sum(f.embedded for f in filled),
        changed=changed,
        undrawn=_undrawn(filled, embedders, registered),
        cut=cut_pages(corpus.table("page_texts"), registered),
    )


@dataclass(frozen=True, slots=True)
class _Filled:
    """Pages that were embedded, and by page id why others could not be drawn."""

    embedded: int
    undrawn: dict[str, str]


def _undrawn(
    filled: Sequence[_Filled], embedders: Sequence[Embedder], registered: Sequence[dict[str, Any]]
) -> tuple[tuple[str, int, str, str], ...]:
    """Pages without a vector as (document, page, embedder, reason)."""
    names = shown_names({r["document_id"]: (r["filename"], r["source_uri"]) for r in registered})
    found = []
    for part, embedder in zip(filled, embedders, strict=True):
        for page_id, reason in part.undrawn.items():
            document_id, page = split_page_id(page_id)
            found.append((names[document_id], page, embedder.spec, reason))
    return tuple(sorted(found))


def _drop_unreadable(corpus: Corpus, readable: dict[str, dict[str, Any]]) -> None:
    """Pages and passages of documents that are gone (a build may follow a registration without rendering)."""
    for name in ("pages", "images", "page_texts", "passages"):
        table = corpus.table(name)
        present = table.search().select(["document_id"]).limit(None).to_arrow()["document_id"].unique().to_pylist()
        delete_by(table, "document_id", set(present) - set(readable))


def _fill_column(
    corpus: Corpus,
    embedder: Embedder,
    readable: dict[str, dict[str, Any]],
    source: PagePictures,
    config: IndexConfig,
    progress: Progress | None,
) -> _Filled:
    """Embed the pages whose vector is missing or was made of something else.

    What a vector was made of is kept in a column beside it and written in the same commit. A page that cannot be drawn
    for an embedder that wants its picture has neither.
    """
    table, column = corpus.table("pages"), column_of(embedder)
    kind = vector_type(embedder)
    schema = pa.schema([pa.field(column, kind), pa.field(key_column(column), pa.string())])
    if added := [field for field in schema if field.name not in table.schema.names]:
        table.add_columns(added)
        table = corpus.table("pages")
    schema = schema.insert(0, pa.field(KEYS["pages"], pa.string(), nullable=False))
    wanted: dict[str, str] = {}
    for page in rows(table, ["page_id", "document_id", "content_hash", key_column(column)]):
        key = _vector_key(embedder, page["content_hash"], context_of(readable[page["document_id"]]), config)
        if page[key_column(column)] != key:
            wanted[page["page_id"]] = key
    missing = sorted(wanted)
    embedded: dict[str, Vector] = {}
    committed = time.monotonic()

    undrawn: dict[str, str] = {}

    def commit() -> None:
        nonlocal committed
        keys = pa.array([wanted[page_id] for page_id in embedded], pa.string())
        data = pa.table(
            [pa.array(embedded, pa.string()), vector_array([*embedded.values()], kind), keys], schema=schema
        )
        table.merge_insert("page_id").when_matched_update_all().execute(data)
        embedded.clear()
        committed = time.monotonic()

    done = 0
    for batch in _batches(table, missing):
        inputs = [
            PageInput(p["page_id"], p["text"], context_of(readable[p["document_id"]]), lambda p=p: source.picture(p))  # type: ignore[misc]
            for p in batch
        ]
        vectors, failed = embed_drawable(embedder, inputs)
        undrawn |= failed
        embedded |= vectors
        done += len(batch)
        size = sum(vector.nbytes for vector in embedded.values())
        late = time.monotonic() - committed > _SECONDS_A_COMMIT
        full = done == len(missing) or len(embedded) >= _PAGES_A_COMMIT or size >= _BYTES_A_COMMIT or late
        if embedded and full:
            commit()
        if progress:
            progress(f"embed {embedder.name}", done, len(missing))
    if undrawn:
        nothing = [pa.nulls(len(undrawn), field.type) for field in list(schema)[1:]]
        data = pa.table([pa.array(undrawn, pa.string()), *nothing], schema=schema)
        table.merge_insert("page_id").when_matched_update_all().execute(data)
    return _Filled(len(missing) - len(undrawn), undrawn)


def _batches(table: Any, page_ids: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Rows of the table pages in batches for an embedder, in the order of `page_ids`, which are sorted."""
    sizes = ["width_pt", "height_pt", "image_width", "image_height"]
    columns = ["page_id", "document_id", "page", *sizes, "text", "problem"]
    for found in by_commit(table, columns, page_ids):
        for first in range(0, len(found), _EMBED_BATCH):
            yield found[first : first + _EMBED_BATCH]


def _vector_key(embedder: Embedder, content_hash: str, context: str, config: IndexConfig) -> str:
    """What decides a page's vector; a page whose vector carries another key is embedded anew."""
    seen = str(config.embed_pixels) if embedder.embeds_pictures else context
    return hashlib.sha256(f"1 {content_hash} {seen}".encode()).hexdigest()[:16]


def _vector_column(corpus: Corpus, embedder: Embedder, config: IndexConfig) -> VectorColumn:
    """Statistics and, for a large table, the approximate index of a filled column."""
    from lancedb.index import IvfRq

    table, column = corpus.table("pages"), column_of(embedder)
    statistics = ""
    weights = None if embedder.multi_vector else embedder.statistics(_sample_of_vectors(table, column))
    if weights is not None:
        content = np.ascontiguousarray(weights, dtype=np.float32).tobytes()
        statistics = f"{hashlib.sha256(content).hexdigest()[:32]}.f32"
        path = corpus.root / "statistics" / statistics
        if not path.exists():
            with whole_file(path) as partial:
                partial.write_bytes(content)
    indexed = _worth_an_index(table, column, embedder, config)
    if indexed:
        index = index_on(table, column)
        if not index or unindexed(table, index) > _RETRAINED_SHARE * table.count_rows():
            table.create_index(column, config=IvfRq(distance_type="cosine"), replace=True)
        elif unindexed(table, index):
            add_part(corpus, "pages", index)
    return VectorColumn(
        column,
        embedder.name,
        embedder.spec,
        embedder.fingerprint,
        embedder.dimension,
        embedder.multi_vector,
        statistics,
        indexed,
    )


def _worth_an_index(table: Any, column: str, embedder: Embedder, config: IndexConfig) -> bool:
    """Whether exhaustive search would be slow: by pages, or by token vectors estimated from the first pages."""
    pages = int(table.count_rows())
    if not embedder.multi_vector:
        return pages > config.ann_rows
    first = table.search().select([column]).limit(8).to_arrow()[column].to_pylist()
    tokens = sum(len(vectors or ()) for vectors in first) / max(1, len(first))
    return pages * tokens > 25 * config.ann_rows


def _sample_of_vectors(table: Any, column: str) -> Iterator[Vector]:
    """Vectors of a single-vector column, in a stable order: of a large corpus those of a sample of its pages."""
    page_ids = table.search().select(["page_id"]).limit(None).to_arrow()["page_id"].to_pylist()
    request = table.search().select(["page_id", column]).where(f"page_id IN ({quoted(sampled(page_ids))})")
    found = request.limit(None).to_arrow().sort_by("page_id") if page_ids else None
    for batch in found.to_batches() if found is not None else ():
        array = batch.column(column).drop_null()
        yield from array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)


def _manifest(
    corpus: Corpus,
    documents: Sequence[dict[str, Any]],
    vectors: tuple[VectorColumn, ...],
    config: IndexConfig,
    renderer: str,
    tag: str | None,
) -> Manifest:
    tables = {name: corpus.table(name) for name in KEYS}
    pages = rows(tables["pages"], ["page_id", "partition", "content_hash", "render_key"])
    versions = documents_version(documents), pages_version(pages)
    held = read_manifest(corpus, "latest").rarity if "latest" in list_tags(corpus) else ""
    settings = {
        "passage_words": config.passage_words,
        "passage_overlap": config.passage_overlap,
        "overfetch": config.overfetch,
        "ann_rows": config.ann_rows,
        "embed_pixels": config.embed_pixels,
        "page_characters": config.page_characters,
        "renderer": renderer,
        "languages": languages_of(corpus),
    }
    content = [INDEX_FORMAT, *versions, settings, [(v.column, v.fingerprint) for v in vectors]]
    data_version = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return Manifest(
        tag=tag or f"index-{data_version}",
        data_version=data_version,
        tables={name: int(table.version) for name, table in tables.items()},
        vectors=vectors,
        settings=settings,
        counts={name: int(table.count_rows()) for name, table in tables.items()},
        documents_version=versions[0],
        pages_version=versions[1],
        rarity=write_rarity(corpus, NGRAM, held),
    )


def _published(corpus: Corpus, manifest: Manifest) -> bool:
    """Whether this very state is already named by the tag and by `latest`."""
    known = list_tags(corpus)
    return all(t in known and read_manifest(corpus, t) == manifest for t in (manifest.tag, "latest"))
