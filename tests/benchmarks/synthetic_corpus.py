"""Corpora of any size without documents: rows and vectors written straight into the tables, then built as usual."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.index import Corpus, IndexReport, build_index, keep_settings
from visor_core.index.corpus import SCHEMAS, upsert
from visor_core.index.embedders import Embedder, PageInput
from visor_core.index.embedders.base import Vector
from visor_core.index.records import page_id_of

PAGES_A_DOCUMENT = 50


class StoredVectors:
    """An embedder whose page vectors are given by number and whose queries are registered by name."""

    name = "stored"
    spec = "stored"
    fingerprint = "0" * 16
    multi_vector = True
    embeds_pictures = True

    def __init__(self, vectors_of: Callable[[int], Vector], dimension: int, queries: dict[str, Vector]) -> None:
        self._vectors_of, self.dimension, self._queries = vectors_of, dimension, queries

    def embed_pages(self, pages: Sequence[PageInput]) -> list[Vector]:
        """Vectors of the pages by their position in the corpus."""
        return [self._vectors_of(position_of(page.page_id)) for page in pages]

    def embed_query(self, query: str, statistics: Vector | None = None) -> Vector:
        """A registered query."""
        return self._queries[query]

    def statistics(self, vectors: Iterable[Vector]) -> Vector | None:
        """None."""
        return None


def position_of(page_id: str) -> int:
    """A page's position in the corpus, from its id."""
    document, page = page_id.split("/")
    return int(document, 16) * PAGES_A_DOCUMENT + int(page) - 1


def page_id_at(position: int) -> str:
    """The id of the page at a position."""
    return page_id_of(f"{position // PAGES_A_DOCUMENT:032x}", position % PAGES_A_DOCUMENT + 1)


def build(
    root: Path, texts: Iterable[str], config: IndexConfig, embedders: Sequence[Embedder]
) -> tuple[Corpus, IndexReport]:
    """A corpus with one page a text, 50 pages a document, built and tagged."""
    corpus = Corpus(root)
    keep_settings(corpus, documents=DocumentsConfig(), index=config)
    pages = list(texts)
    count = -(-len(pages) // PAGES_A_DOCUMENT)
    documents = [
        {
            "document_id": f"{number:032x}",
            "filename": f"document-{number}.pdf",
            "source_uri": f"memory://{number}",
            "other_uris": [],
            "partition": "",
            "media_type": "application/pdf",
            "num_bytes": 1,
            "num_pages": min(PAGES_A_DOCUMENT, len(pages) - number * PAGES_A_DOCUMENT),
            "title": "",
            "status": "ok",
            "reason": "",
            "reader_key": "synthetic",
        }
        for number in range(count)
    ]
    upsert(corpus.table("documents"), pa.Table.from_pylist(documents, schema=SCHEMAS["documents"]))
    table, images = corpus.table("pages"), corpus.table("images")
    for start in range(0, len(pages), 10_000):
        chunk = range(start, min(len(pages), start + 10_000))
        records = [
            {
                "page_id": page_id_at(i),
                "document_id": page_id_at(i).split("/")[0],
                "partition": "",
                "page": i % PAGES_A_DOCUMENT + 1,
                "width_pt": 595.0,
                "height_pt": 842.0,
                "rotation": 0,
                "text": pages[i],
                "text_source": "layer",
                "words": [],
                "image_width": 1,
                "image_height": 1,
                "dpi": 72.0,
                "problem": "",
                "render_key": "synthetic",
                "content_hash": f"{i:032x}",
            }
            for i in chunk
        ]
        upsert(table, pa.Table.from_pylist(records, schema=SCHEMAS["pages"]))
        blank = [{"page_id": r["page_id"], "document_id": r["document_id"], "image": b""} for r in records]
        upsert(images, pa.Table.from_pylist(blank, schema=SCHEMAS["images"]))
    return corpus, build_index(corpus, config, embedders)


def zipf_texts(count: int, words: int, seed: int, vocabulary: int = 30_000) -> list[str]:
    """Pages of pseudo-words with a natural frequency distribution."""
    random = np.random.default_rng(seed)
    syllables = [a + b for a in "bcdfglmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]
    names = ["".join(random.choice(syllables, size=random.integers(1, 5))) for _ in range(vocabulary)]
    weights = 1.0 / np.arange(1, vocabulary + 1)
    weights /= weights.sum()
    drawn = random.choice(vocabulary, size=(count, words), p=weights)
    return [" ".join(names[i] for i in row) for row in drawn]
