"""Multi-vector search at scale: recall against exhaustive MaxSim, speed, index size and build time.

Pages are real ColQwen2 page vectors (../shared/data/colqwen2_vectors, 39 pages of 731 × 128), multiplied with noise.
Queries are patch vectors of one page with noise: no query embeddings are published with them.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.synthetic_corpus import StoredVectors, build, page_id_at
from visor_core.config import IndexConfig
from visor_core.errors import DataError
from visor_core.index import PageIndex
from visor_core.index.multivector import max_sim_many, order_by_score

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "data" / "colqwen2_vectors" / "pages.npz"
SIZES = (1_000, 10_000)
QUERIES, QUERY_TOKENS, TOP = 40, 20, 10
EXHAUSTIVE_QUERIES = 3
"""Timed without the index: at 10,000 pages each takes half a minute. Recall is of all queries."""


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def exhaustive(table: Any, column: str, queries: Sequence[np.ndarray]) -> list[set[str]]:
    """The ids of the `TOP` pages by exact MaxSim for every query: all pages, a batch at a time."""
    names: list[str] = []
    scores: list[list[np.ndarray]] = [[] for _ in queries]
    for batch in table.search().select(["page_id", column]).limit(None).to_batches(512):
        names += batch.column("page_id").to_pylist()
        for query, found in zip(queries, scores, strict=True):
            found.append(max_sim_many(query, batch.column(column)))
    return [{name for name, _ in order_by_score(names, np.concatenate(found))[:TOP]} for found in scores]


def measure(base: Sequence[np.ndarray], pages: int, folder: Path) -> dict[str, Any]:
    """One corpus size: build, search with the index, search without."""
    dimension = base[0].shape[1]
    scale = 0.6 / np.sqrt(dimension)

    def vectors_of(position: int) -> np.ndarray:
        random = np.random.default_rng(position)
        original = base[position % len(base)]
        noise = random.standard_normal(original.shape, dtype=np.float32)
        return unit(original + scale * noise).astype(np.float16)

    random = np.random.default_rng(7)
    queries = {}
    for number in range(QUERIES):
        page = vectors_of(int(random.integers(pages)))
        tokens = page[random.choice(len(page), QUERY_TOKENS, replace=False)]
        queries[f"query {number}"] = unit(tokens + random.normal(0, scale, tokens.shape))
    shutil.rmtree(folder, ignore_errors=True)
    embedder = StoredVectors(vectors_of, dimension, queries)
    began = time.perf_counter()
    corpus, _ = build(folder, [""] * pages, IndexConfig(embedders=()), [embedder])
    built = time.perf_counter() - began
    size = sum(p.stat().st_size for p in (folder / "lancedb").rglob("*") if p.is_file())
    index_size = sum(p.stat().st_size for p in (folder / "lancedb").glob("*/_indices/**/*") if p.is_file())
    index = PageIndex.open(corpus.root, embedders=[embedder])
    vector = index.manifest.vectors[0]
    index.rankings("query 0", TOP, "vector")
    fast, slow, found = [], [], {}
    for query in queries:
        began = time.perf_counter()
        found[query] = index.rankings(query, TOP, "vector")[vector.column]
        fast.append(time.perf_counter() - began)
    table = corpus.table_at("pages", index.manifest.tables["pages"])
    exact = exhaustive(table, vector.column, list(queries.values()))
    recall = [len(set(found[name][:TOP]) & best) / TOP for name, best in zip(queries, exact, strict=True)]
    for tokens in list(queries.values())[:EXHAUSTIVE_QUERIES]:
        began = time.perf_counter()
        request = table.search(tokens, vector_column_name=vector.column, query_type="vector").distance_type("cosine")
        request.bypass_vector_index().limit(TOP).select(["page_id", "_distance"]).to_list()
        slow.append(time.perf_counter() - began)
    return {
        "pages": pages,
        "indexed": vector.indexed,
        "recall_at_10": statistics.mean(recall),
        "milliseconds": 1e3 * statistics.median(fast),
        "exhaustive_milliseconds": 1e3 * statistics.median(slow),
        "speedup": statistics.median(slow) / statistics.median(fast),
        "build_seconds": built,
        "table_bytes": size,
        "index_bytes": index_size,
        "first": page_id_at(0),
    }


def main(home: Path, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    """Measure all sizes."""
    if not VECTORS.is_file():
        raise DataError(f"the vectors {VECTORS.name} are not there: this measurement needs ../shared/data")
    with np.load(VECTORS) as data:
        base = [data[name].astype(np.float32) for name in data.files]
    raw = []
    for pages in sizes:
        raw.append(measure(base, pages, home / "bench" / "corpora" / f"multivector-{pages}"))
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in raw[-1].items()})
        shutil.rmtree(home / "bench" / "corpora" / f"multivector-{pages}")
    last = raw[-1]
    return {
        "results": [
            {
                "name": f"multi-vector recall@10 of exhaustive, {last['pages']} pages",
                "value": round(last["recall_at_10"], 4),
                "unit": "share",
                "goal": ">= 0.99",
                "met": last["recall_at_10"] >= 0.99,
            },
            {
                "name": f"multi-vector speed over exhaustive, {last['pages']} pages",
                "value": round(last["speedup"], 2),
                "unit": "x",
                "goal": ">= 10",
                "met": last["speedup"] >= 10,
            },
        ],
        "raw": raw,
    }
