"""The approximate paths, made to appear in a small corpus: multi-vector and single-vector indexes, and their recall."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.benchmarks.synthetic_corpus import StoredVectors, build, position_of, zipf_texts
from visor_core.config import IndexConfig
from visor_core.index import PageIndex, load_embedders
from visor_core.index.embedders.base import column_of
from visor_core.index.multivector import max_sim
from visor_core.index.upkeep import approximate_recall, verify


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_an_approximate_multi_vector_search_is_rescored_exactly(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pages = unit(random.normal(size=(400, 12, 32))).astype(np.float16).astype(np.float32)
    queries = {f"q{i}": unit(pages[i * 7, :6] + random.normal(0, 0.1, (6, 32))) for i in range(20)}
    embedder = StoredVectors(lambda position: pages[position], 32, queries)
    corpus, _ = build(tmp_path, [""] * 400, IndexConfig(embedders=(), ann_rows=100), [embedder])
    index = PageIndex.open(corpus.root, embedders=[embedder])
    assert index.manifest.vectors[0].indexed
    shares = []
    for name, query in queries.items():
        found = [position_of(page_id) for page_id in index.rankings(name, 10, "vector")[column_of(embedder)]]
        exact = sorted(range(400), key=lambda i: (-max_sim(query, pages[i]), i))[:10]
        assert found == sorted(found, key=lambda i: -max_sim(query, pages[i]))
        shares.append(len(set(found) & set(exact)) / 10)
    # Random vectors are the hard case: real page vectors reach 0.99 and more (bench_multivector).
    assert np.mean(shares) >= 0.9
    assert approximate_recall(index, samples=10) >= 0.9
    assert verify_without_sources(corpus) == []


def test_an_approximate_single_vector_search_finds_the_page(tmp_path: Path) -> None:
    texts = zipf_texts(600, 60, seed=0, vocabulary=3_000)
    config = IndexConfig(embedders=("hash:128",), ann_rows=200)
    corpus, _ = build(tmp_path, texts, config, load_embedders(config))
    index = PageIndex.open(corpus.root)
    assert index.manifest.vectors[0].indexed
    first = [index.rankings(texts[i], 10, "vector")[index.manifest.vectors[0].column][:1] for i in range(0, 600, 60)]
    assert sum(bool(f) and position_of(f[0]) == i for f, i in zip(first, range(0, 600, 60), strict=True)) >= 9


def verify_without_sources(corpus) -> list[str]:  # type: ignore[no-untyped-def]
    """The faults of a synthetic corpus other than its missing documents."""
    return [fault for fault in verify(corpus) if "under sources/ is missing" not in fault]
