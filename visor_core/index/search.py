"""The read side of a corpus, pinned to a tag: search, pages, documents, and pictures of pages and crops.

A `PageIndex` is an `ImageLoader`: it draws any part of a page at exactly the requested size. Searches over a pinned tag
are pure, so their results are remembered. Ranking: full text over pages and passages and every vector column, fused
by reciprocal rank. Leaves out: learned rerankers.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from visor_core.config import DocumentsConfig
from visor_core.documents.crops import CropRenderer
from visor_core.documents.names import composed, goes_by, shown_names
from visor_core.documents.reader import Word
from visor_core.documents.sources import stored_path
from visor_core.errors import ConfigError, DocumentError, SearchIndexError
from visor_core.geometry import shown_size
from visor_core.index.corpus import Corpus, quoted, rows
from visor_core.index.embedders import Embedder, load_embedder
from visor_core.index.embedders.base import column_of
from visor_core.index.fusion import reciprocal_rank_fusion
from visor_core.index.nearest import nearest
from visor_core.index.page_pictures import stored_picture
from visor_core.index.passages import content_words, mentioned_pages, normalised
from visor_core.index.records import Document, Hit, Page, page_id_of, parse_pages, split_page_id
from visor_core.index.register import DOCUMENT_COLUMNS, password_for
from visor_core.index.settings import reading_settings
from visor_core.index.snippets import snippet
from visor_core.index.tags import Manifest, VectorColumn, read_manifest
from visor_core.policies.base import ImageRef

Mode = Literal["text", "vector", "hybrid"]

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
WEIGHTS = {"text": 2.0}
"""Weights of the rankings in the fusion, 1 where none is given; chosen on half of the documents of bench_recall."""
_REMEMBERED_SEARCHES = 20_000
_REMEMBERED_PAGES = 4_096


class PageIndex:
    """One tagged state of a corpus. Open with `PageIndex.open`. Safe for threads."""

    def __init__(
        self,
        corpus: Corpus,
        manifest: Manifest,
        embedders: Sequence[Embedder] | None = None,
        documents: DocumentsConfig | None = None,
        device: str = "cpu",
        named: Collection[str] = (),
    ) -> None:
        self.corpus, self.manifest, self.tag = corpus, manifest, manifest.tag
        self._tables = {name: corpus.table_at(name, version) for name, version in manifest.tables.items()}
        self._documents = _documents(self._tables["documents"])
        self._embedders = {column_of(e): e for e in embedders or ()}
        self._statistics: dict[str, np.ndarray | None] = {}
        self._lock = threading.RLock()
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._searches: OrderedDict[tuple[object, ...], list[Hit]] = OrderedDict()
        self._reading, self._device = reading_settings(corpus, documents, named), device
        self._crops = CropRenderer(
            {i: stored_path(corpus.sources, i) for i in self._documents},
            corpus.crops,
            "pdfium" if manifest.settings.get("renderer") == "pdfium" else "pymupdf",
            config=self._reading,
            password_of=lambda document_id: password_for(self._reading, self._documents[document_id].filename),
        )

    @classmethod
    def open(
        cls,
        root: Path,
        tag: str = "latest",
        embedders: Sequence[Embedder] | None = None,
        documents: DocumentsConfig | None = None,
        device: str = "cpu",
        named: Collection[str] = (),
    ) -> PageIndex:
        """Open a corpus folder at a tag.

        Args:
            root: the corpus folder.
            tag: an index tag; `latest` is the last one published.
            embedders: for queries; those not given are loaded from the manifest when first needed.
            documents: the caller's settings for drawing. Those that the corpus keeps are the corpus's, and passwords of
                encrypted documents by file name are added to its own; each is read when its document is drawn.
            device: where the embedders that are loaded run, as `index.device`.
            named: dotted names of kept settings that the caller names, which are then its own.

        Raises:
            SearchIndexError: if the corpus, the tag or one of its table versions does not exist.
        """
        corpus = Corpus(Path(root))
        return cls(corpus, read_manifest(corpus, tag), embedders, documents, device, named)

    @property
    def corpus_name(self) -> str:
        """The name of the corpus: that of its folder."""
        return self.corpus.root.name

    @property
    def data_version(self) -> str:
        """Content hash of the tagged state."""
        return self.manifest.data_version

    def documents(self) -> list[Document]:
        """All documents, quarantined ones too, by file name."""
        return sorted(self._documents.values(), key=lambda d: (d.filename, d.document_id))

    def pages(self) -> Iterator[Page]:
        """All pages, by page id."""
        for page_id in self.page_ids():
            yield self.page(page_id)

    def page_ids(self) -> list[str]:
        """The ids of all pages, in order."""
        return sorted(r["page_id"] for r in rows(self._tables["pages"], ["page_id"]))

    def page(self, page_id: str) -> Page:
        """One page.

        Raises:
            SearchIndexError: if it is not in the index.
        """
        split_page_id(page_id)
        return self._pages_by_id([page_id])[page_id]

    def raster(self, page_id: str) -> Image.Image:
        """The stored picture of a page."""
        self.page(page_id)
        return stored_picture(self._tables["images"], page_id)

    def embedded_picture(self, page_id: str) -> Image.Image:
        """A page as image embedders saw it: its stored picture, or drawn at `index.embed_pixels`."""
        pixels = self.manifest.settings.get("embed_pixels", 0)
        if not pixels:
            return self.raster(page_id)
        page = self.page(page_id)
        return self(ImageRef(page_id, *shown_size(page.width_pt, page.height_pt, 1, pixels)))

    def __call__(self, ref: ImageRef) -> Image.Image:
        """The page or crop drawn from its source at exactly `ref.width` × `ref.height`, RGB; not to be drawn on.

        Raises:
            SearchIndexError: if the page is not in the index.
            DocumentError: if its source cannot be drawn, or its password is not there.
        """
        document_id, page = split_page_id(ref.page_id)
        if document_id not in self._documents:
            raise SearchIndexError(f"page {ref.page_id} is not in index {self.tag!r}")
        document = self._documents[document_id]
        if document.status == "ok" and not 1 <= page <= document.num_pages:
            raise SearchIndexError(f"{document.name} has {document.num_pages} pages, there is no page {page}")
        try:
            return self._crops.picture(document_id, page, ref.width, ref.height, ref.box)
        except DocumentError as error:
            if self.page(ref.page_id).problem:  # the page was stored as unreadable: it is shown blank, as indexed
                return Image.new("RGB", (ref.width, ref.height), "white")
            raise DocumentError(f"{document.name}: {error}") from error
        except ConfigError as error:  # a secret that is not set: this document's own fault, not the index's
            raise DocumentError(f"{document.name}: {error}") from error

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        mode: Mode = "hybrid",
        partition: str = "",
        document: str | None = None,
        pages: str | tuple[int, int] | None = None,
    ) -> list[Hit]:
        """The `k` pages that fit a query best, best first.

        Args:
            query: words; an empty query finds nothing.
            k: most hits.
            mode: `text` (BM25 over whole pages and their passages), `vector` (all vector columns) or `hybrid`.
            partition: restrict to this partition; "" means all.
            document: restrict to one document, by id or by file name, alone or after its folders; a name that repeats
                stands for all that have it.
            pages: restrict to pages, as `3-7` or (first, last).

        Raises:
            SearchIndexError: if a filter names nothing or an embedder cannot be loaded.
        """
        if k < 1:
            raise SearchIndexError(f"a search for {k} pages is none: k starts at 1")
        if mode not in ("text", "vector", "hybrid"):
            raise SearchIndexError(f"search mode {mode!r} is unknown: choose text, vector or hybrid")
        key = (query, k, mode, partition, document, pages)
        with self._lock:
            if key in self._searches:
                self._searches.move_to_end(key)
                return list(self._searches[key])
        hits = self._hits(query, k, self.rankings(query, max(50, 5 * k), mode, partition, document, pages))
        with self._lock:
            self._searches[key] = hits
            while len(self._searches) > _REMEMBERED_SEARCHES:
                self._searches.popitem(last=False)
        return list(hits)

    async def search_async(
        self,
        query: str,
        *,
        k: int = 10,
        mode: Mode = "hybrid",
        partition: str = "",
        document: str | None = None,
        pages: str | tuple[int, int] | None = None,
    ) -> list[Hit]:
        """`search` off the event loop; the same result."""
        return await asyncio.to_thread(
            self.search, query, k=k, mode=mode, partition=partition, document=document, pages=pages
        )

    def close(self) -> None:
        """Release open documents."""
        self._crops.close()

    def _named_pages(self, query: str, document: str) -> list[str]:
        """Pages of one document whose numbers the query names."""
        documents = [d for d in self._documents.values() if _is_meant(d, document) and d.status == "ok"]
        return [
            page_id_of(d.document_id, n)
            for d in documents
            for n in sorted(mentioned_pages(query))
            if 0 < n <= d.num_pages
        ]

    def rankings(
        self,
        query: str,
        depth: int,
        mode: Mode = "hybrid",
        partition: str = "",
        document: str | None = None,
        pages: str | tuple[int, int] | None = None,
    ) -> dict[str, list[str]]:
        """The rankings that a search fuses, each of at most `depth` page ids; arguments as for `search`."""
        if not query.strip() or not self.manifest.counts.get("pages"):
            return {}
        condition = self._condition(partition, document, pages)
        rankings: dict[str, list[str]] = {}
        words = content_words(query)
        if mode != "vector" and words:
            rankings["text"] = self._text("page_text", normalised(" ".join(words)), depth, condition)
            rankings["passages"] = self._text("text", " ".join(words), 2 * depth, condition)[:depth]
        if mode != "text":
            for vector in self.manifest.vectors:
                ranked = self._vector(vector, query, depth, condition)
                rankings[vector.column] = [page_id for page_id, _ in ranked]
        if numbers := mentioned_pages(query):
            fused = reciprocal_rank_fusion(rankings, WEIGHTS)
            found = [page_id for page_id, _ in fused if split_page_id(page_id)[1] in numbers]
            named = self._named_pages(query, document) if document and not partition and pages is None else []
            rankings["number"] = list(dict.fromkeys([*found, *named]))
        return rankings

    def _hits(self, query: str, k: int, rankings: Mapping[str, Sequence[str]]) -> list[Hit]:
        """The first `k` of the fused rankings, with snippets."""
        fused = reciprocal_rank_fusion(rankings, WEIGHTS)[:k]
        found = self._pages_by_id([page_id for page_id, _ in fused])
        hits = []
        for page_id, score in fused:
            page = found[page_id]
            ranks = {name: r.index(page_id) + 1 for name, r in rankings.items() if page_id in r}
            hits.append(
                Hit(page_id, page.document_id, page.filename, page.page, score, snippet(page.text, query), ranks)
            )
        return hits

    def _text(self, column: str, query: str, depth: int, condition: str) -> list[str]:
        """Page ids by BM25 over a column of passages, best first, each once."""
        request = self._tables["passages"].search(query, query_type="fts", fts_columns=column)
        request = request.select(["page_id", "_score"]).limit(depth)
        if condition:
            request = request.where(condition, prefilter=True)
        try:
            found = request.to_arrow()
        except (ValueError, RuntimeError) as error:
            raise SearchIndexError(f"the query {query[:80]!r} cannot be searched: {str(error)[:200]}") from error
        best: dict[str, float] = {}
        for page_id, score in zip(found["page_id"].to_pylist(), found["_score"].to_pylist(), strict=True):
            best[page_id] = max(best.get(page_id, 0.0), score)
        return [page_id for page_id, _ in sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))]

    def _vector(self, vector: VectorColumn, query: str, depth: int, condition: str) -> list[tuple[str, float]]:
        """Pages by cosine or exact MaxSim, best first."""
        embedder = self.embedder(vector)
        embedded = embedder.embed_query(query, self._statistics_of(vector))
        if not np.any(embedded):
            return []
        return nearest(self._tables["pages"], self.manifest, vector, np.asarray(embedded), depth, condition)

    def nearest(
        self, vector: VectorColumn, query: np.ndarray, depth: int, *, exhaustive: bool = False
    ) -> list[tuple[str, float]]:
        """The pages whose vectors are nearest to a query vector, with their scores."""
        return nearest(self._tables["pages"], self.manifest, vector, query, depth, exhaustive=exhaustive)

    def embedder(self, vector: VectorColumn) -> Embedder:
        """The embedder of a vector column, for queries; loaded when first needed.

        Raises:
            SearchIndexError: if it is not the one the index was built with.
        """
        with self._lock:
            embedder = self._embedders.get(vector.column)
            if embedder is None:
                embedder = self._embedders[vector.column] = load_embedder(vector.spec, device=self._device)
        if embedder.fingerprint != vector.fingerprint:
            raise SearchIndexError(
                f"index {self.tag!r} was built with another version of the embedder {vector.spec}: build it again"
            )
        return embedder

    def vectors(self, vector: VectorColumn, where: str) -> dict[str, np.ndarray]:
        """Stored vectors of a column by page id, float32: (D,), or (T, D) of a multi-vector column."""
        request = self._tables["pages"].search().where(where).select(["page_id", vector.column])
        found = request.limit(None).to_arrow()
        return {
            page_id: np.asarray(value, np.float32)
            for page_id, value in zip(found["page_id"].to_pylist(), found[vector.column].to_pylist(), strict=True)
            if value is not None
        }

    def _statistics_of(self, vector: VectorColumn) -> np.ndarray | None:
        if vector.column not in self._statistics:
            weights = None
            if vector.statistics:
                path = self.corpus.root / "statistics" / vector.statistics
                if not path.is_file():
                    raise SearchIndexError(f"index {self.tag!r} lacks {path.name} of {vector.name}: build it again")
                weights = np.frombuffer(path.read_bytes(), dtype=np.float32)
            self._statistics[vector.column] = weights
        return self._statistics[vector.column]

    def _condition(self, partition: str, document: str | None, pages: str | tuple[int, int] | None) -> str:
        """The filters as an SQL condition over the tables pages and passages."""
        parts = []
        if partition:
            parts.append(f"partition = {quoted([partition])}")
        if document is not None:
            ids = [i for i, d in self._documents.items() if _is_meant(d, document)]
            if not ids:
                raise SearchIndexError(f"no document {document[:100]!r} in index {self.tag!r}")
            parts.append(f"document_id IN ({quoted(sorted(ids))})")
        if pages is not None:
            ranges = parse_pages(pages) if isinstance(pages, str) else [(int(pages[0]), int(pages[1]))]
            clauses = [f"page >= {a}" if b is None else f"(page >= {a} AND page <= {b})" for a, b in ranges]
            parts.append(f"({' OR '.join(clauses)})")
        return " AND ".join(parts)

    def _pages_by_id(self, page_ids: Sequence[str]) -> dict[str, Page]:
        """Pages by id, from memory or the table."""
        found: dict[str, Page] = {}
        with self._lock:
            for page_id in page_ids:
                if page_id in self._pages:
                    self._pages.move_to_end(page_id)
                    found[page_id] = self._pages[page_id]
        missing = [page_id for page_id in page_ids if page_id not in found]
        if missing:
            for row in rows(self._tables["pages"], PAGE_COLUMNS, f"page_id IN ({quoted(missing)})"):
                found[row["page_id"]] = self._page_of(row)
        for page_id in page_ids:
            if page_id not in found:
                raise SearchIndexError(f"page {page_id} is not in index {self.tag!r}")
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


def _documents(table: Any) -> dict[str, Document]:
    """The rows of the table documents by id, each with the name it is shown by."""
    found = rows(table, DOCUMENT_COLUMNS)
    names = shown_names({r["document_id"]: (r["filename"], r["source_uri"]) for r in found})
    columns = [name for name in Document.__dataclass_fields__ if name != "name"]
    return {
        r["document_id"]: Document(**{name: r[name] for name in columns}, name=names[r["document_id"]]) for r in found
    }


def _is_meant(document: Document, name: str) -> bool:
    """Whether a filter names a document."""
    return (
        name == document.document_id
        or composed(name) == document.name
        or goes_by(name, document.filename, document.source_uri)
    )


__all__ = ["Hit", "Mode", "Page", "PageIndex", "page_id_of"]
