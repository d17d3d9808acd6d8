"""The read side of a corpus, pinned to a tag: search, pages, documents, and pictures of pages and crops.

A `PageIndex` is an `ImageLoader`: it draws any part of a page at exactly the requested size. Searches over a pinned tag
are pure, so their results are remembered. A search is three steps: candidates (`candidates`), their order (`ranking`),
and the hits that are shown (`hits`).
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from visor_core.config import DocumentsConfig, Profile
from visor_core.documents.crops import CropRenderer
from visor_core.documents.names import shown_names
from visor_core.documents.reader import Word
from visor_core.documents.sources import readable_path
from visor_core.errors import ConfigError, DocumentError, SearchIndexError
from visor_core.geometry import shown_size
from visor_core.index.candidates import CandidateSearch, Mode, Scored
from visor_core.index.corpus import KEYS, Corpus, quoted, rows
from visor_core.index.embedders import Embedder
from visor_core.index.filters import Filters, within
from visor_core.index.hits import hits_of
from visor_core.index.nearest import nearest
from visor_core.index.page_pictures import stored_picture
from visor_core.index.ranking.facts import StoredFacts
from visor_core.index.ranking.naming import UNNAMED, DocumentNames, places_of
from visor_core.index.ranking.order import NOTHING, Ranked, first_candidates, ranked, rankings_of, together
from visor_core.index.ranking.wording import read
from visor_core.index.records import Document, Hit, Page, PageText, page_id_of, split_page_id
from visor_core.index.register import DOCUMENT_COLUMNS
from visor_core.index.restricted import RestrictedTable
from visor_core.index.settings import reading_settings
from visor_core.index.stored_pages import StoredPages
from visor_core.index.tags import Manifest, VectorColumn, read_manifest
from visor_core.index.unread import unread_pages
from visor_core.index.validating import password_for
from visor_core.metadata import ACCESS
from visor_core.policies.base import ImageRef

_REMEMBERED_SEARCHES = 20_000


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
        access: Collection[str] = (),
    ) -> None:
        self.corpus, self.manifest, self.tag = corpus, manifest, manifest.tag
        if manifest.tables.keys() != KEYS.keys() or "languages" not in manifest.settings:
            raise SearchIndexError(
                f"index {self.tag!r} of corpus {self.corpus_name!r} was built by another version of visor: "
                f"`visor ingest --corpus {self.corpus_name}` builds it anew"
            )
        self._let_go = weakref.finalize(self, _close, corpus.reading())
        self._tables = {name: corpus.table_at(name, version) for name, version in manifest.tables.items()}
        self._documents = _documents(self._tables["documents"])
        if access:
            self._restrict(access)
        self._candidates = CandidateSearch(corpus.root, manifest, self._tables, embedders or (), device)
        self._pages = StoredPages(self._tables["pages"], self._documents, manifest.tag)
        self._facts = StoredFacts(self._tables["page_texts"])
        self._named: DocumentNames | None = None
        self._lock = threading.Lock()
        self._searches: OrderedDict[tuple[object, ...], list[Hit]] = OrderedDict()
        self._reading = reading_settings(corpus, documents, named)
        self._crops = CropRenderer(
            {i: readable_path(corpus.sources, i, document.media_type) for i, document in self._documents.items()},
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
        access: Collection[str] = (),
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
            access: access tags, as `index.access`: with any given, documents of no such tag do not exist here.

        Raises:
            SearchIndexError: if the corpus, the tag or one of its table versions does not exist.
        """
        corpus = Corpus(Path(root))
        return cls(corpus, read_manifest(corpus, tag), embedders, documents, device, named, access)

    @classmethod
    def under(cls, root: Path, tag: str, profile: Profile, named: Collection[str] = ()) -> PageIndex:
        """As `open`, with what a profile says of reading, of devices, and of who may see what.

        Raises:
            SearchIndexError: if the corpus, the tag or one of its table versions does not exist.
        """
        index = profile.index
        return cls.open(root, tag, documents=profile.documents, device=index.device, named=named, access=index.access)

    def _restrict(self, access: Collection[str]) -> None:
        """Leave the documents that have one of these access tags, in every table."""
        wanted = {f"{ACCESS}={tag}" for tag in access}
        seen = {i: d for i, d in self._documents.items() if wanted & {*d.metadata}}
        condition = within(set(seen), self._documents)
        self._tables = {name: RestrictedTable(table, condition) for name, table in self._tables.items()}
        self._documents = _named(seen)

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
        return self._pages.each()

    def texts(self) -> Iterator[PageText]:
        """The text of all pages, by page id."""
        return self._pages.each_text()

    def page_ids(self) -> list[str]:
        """The ids of all pages, in order."""
        return self._pages.ids()

    def page(self, page_id: str) -> Page:
        """One page.

        Raises:
            SearchIndexError: if it is not in the index.
        """
        split_page_id(page_id)
        return self._pages.pages([page_id])[page_id]

    def words(self, page_ids: Iterable[str]) -> dict[str, tuple[Word, ...]]:
        """The words of many pages by their ids; a page that is not in the index is absent."""
        return self._pages.words(page_ids)

    def raster(self, page_id: str) -> Image.Image:
        """The stored picture of a page; where none is stored, it is drawn at the size that one would have.

        Raises:
            SearchIndexError: if the page is not in the index.
            DocumentError: if it has to be drawn and cannot be.
        """
        page = self.page(page_id)
        stored = stored_picture(self._tables["images"], page_id)
        return stored or self(ImageRef(page_id, page.image_width, page.image_height))

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
        where: Sequence[str] = (),
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
            where: restrict to documents for whose metadata all of these hold, as `team=finance` or `date>=2024`.

        Raises:
            SearchIndexError: if a filter names nothing or an embedder cannot be loaded.
            ConfigError: if one of `where` is no condition.
        """
        if k < 1:
            raise SearchIndexError(f"a search for {k} pages is none: k starts at 1")
        if mode not in ("text", "vector", "hybrid"):
            raise SearchIndexError(f"search mode {mode!r} is unknown: choose text, vector or hybrid")
        filters = Filters(partition, document, pages, tuple(where))
        key = (query, k, mode, filters)
        with self._lock:
            if key in self._searches:
                self._searches.move_to_end(key)
                return list(self._searches[key])
        found = self.ranked(query, max(50, 5 * k), mode, filters)
        ordered = found.order()[:k]
        hits = hits_of(query, ordered, self._pages.texts([page_id for page_id, _ in ordered]), found.rankings)
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
        where: Sequence[str] = (),
    ) -> list[Hit]:
        """`search` off the event loop; the same result."""
        return await asyncio.to_thread(
            self.search, query, k=k, mode=mode, partition=partition, document=document, pages=pages, where=where
        )

    def unread_pages(self) -> int:
        """How many pages have no legible text and were not tried by OCR: full text does not find them."""
        return unread_pages(self._tables["pages"])

    @property
    def ocr_mode(self) -> str:
        """When pages of the corpus are read by OCR: `never`, `auto` or `always`."""
        return self._reading.ocr

    def close(self) -> None:
        """Release open documents, and the versions that the tag names."""
        self._crops.close()
        self._let_go()

    def rankings(
        self,
        query: str,
        depth: int,
        mode: Mode = "hybrid",
        partition: str = "",
        document: str | None = None,
        pages: str | tuple[int, int] | None = None,
        where: Sequence[str] = (),
    ) -> dict[str, list[str]]:
        """The rankings that a search is made of, each of at most `depth` page ids and as many in documents that the
        question names; arguments as for `search`."""
        return self.ranked(query, depth, mode, Filters(partition, document, pages, tuple(where))).rankings

    def candidates(self, query: str, depth: int, mode: Mode = "hybrid") -> dict[str, Scored]:
        """The candidates of a query by ranking, each of at most `depth` pages with their scores."""
        return self._candidates.of(query, mode)(depth, "") if self._can_find(query) else {}

    def ranked(self, query: str, depth: int, mode: Mode, filters: Filters, *, by_name: bool = True) -> Ranked:
        """The rankings of a query, and its first candidates as the learnt order reads them.

        Args:
            query: words.
            depth: most pages of a ranking.
            mode: as for `search`.
            filters: restrictions.
            by_name: whether documents that the query names are searched on their own as well.
        """
        if not self._can_find(query):
            return NOTHING
        condition = filters.condition(self._documents, self.tag)
        find = self._candidates.of(query, mode)
        found = find(depth, condition)
        question, named = read(query), UNNAMED
        if by_name and filters.document is None and mode != "vector":
            first = first_candidates(rankings_of(query, found))
            facts = self._facts.of(first)
            seen = [(split_page_id(page_id)[0], facts[page_id].terms) for page_id in first]
            named = self._names().named(question, seen)
        if named.meant:
            inside = f"document_id IN ({quoted(sorted(named.meant))})"
            inside = f"({condition}) AND {inside}" if condition else inside
            found = together(found, find(depth, inside))
        alone = filters == Filters(document=filters.document) and filters.document is not None
        rankings = rankings_of(query, found, filters.documents(self._documents) if alone else ())
        return ranked(question, found, rankings, named, self._facts.of)

    def _can_find(self, query: str) -> bool:
        return bool(query.strip() and self.manifest.counts.get("pages"))

    def _names(self) -> DocumentNames:
        """The names of the readable documents, read when they are first needed."""
        with self._lock:
            if self._named is None:
                columns = ["document_id", "filename", "title", "cover", "header", "front", "status"]
                held = rows(self._tables["documents"], columns)
                self._named = DocumentNames((r["document_id"], places_of(r)) for r in held if r["status"] == "ok")
            return self._named

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
        return self._candidates.embedder(vector)

    def vectors(self, vector: VectorColumn, where: str) -> dict[str, np.ndarray]:
        """Stored vectors of a column by page id, float32: (D,), or (T, D) of a multi-vector column."""
        request = self._tables["pages"].search().where(where).select(["page_id", vector.column])
        found = request.limit(None).to_arrow()
        return {
            page_id: np.asarray(value, np.float32)
            for page_id, value in zip(found["page_id"].to_pylist(), found[vector.column].to_pylist(), strict=True)
            if value is not None
        }


def _close(handle: int) -> None:
    """Close a descriptor of `Corpus.reading`."""
    if handle >= 0:
        os.close(handle)


def _documents(table: Any) -> dict[str, Document]:
    """The rows of the table documents by id, each with the name it is shown by."""
    columns = [name for name in Document.__dataclass_fields__ if name not in ("name", "metadata")]
    return _named(
        {
            r["document_id"]: Document(**{name: r[name] for name in columns}, metadata=tuple(r["metadata"] or ()))
            for r in rows(table, DOCUMENT_COLUMNS)
        }
    )


def _named(documents: dict[str, Document]) -> dict[str, Document]:
    """Documents with the names they are shown by, which depend on what others there are."""
    names = shown_names({i: (d.filename, d.source_uri) for i, d in documents.items()})
    return {i: replace(document, name=names[i]) for i, document in documents.items()}


__all__ = ["Hit", "Mode", "Page", "PageIndex", "page_id_of"]
