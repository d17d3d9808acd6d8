"""The approximate paths, made to appear in a small corpus: multi-vector and single-vector indexes, and their recall."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.synthetic_corpus import StoredVectors, build, position_of, zipf_texts
from visor_core.config import IndexConfig
from visor_core.index import Corpus, PageIndex, build_index, load_embedders
from visor_core.index.embedders.base import PageInput, Vector, column_of
from visor_core.index.multivector import max_sim
from visor_core.index.nearest import candidates
from visor_core.index.upkeep import approximate_recall, verify


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("count", [400, 2_000])
def test_an_approximate_multi_vector_search_is_rescored_exactly(tmp_path: Path, count: int) -> None:
    random = np.random.default_rng(0)
    # As in a real corpus, most pages resemble many others: a fixed 200 candidates find 98 % of 2,000 pages' best ten.
    kinds = unit(random.normal(size=(6, 8, 32)))
    scale = 0.6 / np.sqrt(32)
    noise = random.normal(0, scale, (count, 8, 32))
    pages = unit(kinds[np.arange(count) % len(kinds)] + noise).astype(np.float16).astype(np.float32)
    queries = {f"q{i}": unit(pages[i * 7, :4] + random.normal(0, scale, (4, 32))) for i in range(20)}
    embedder = StoredVectors(lambda position: pages[position], 32, queries)
    corpus, _ = build(tmp_path, [""] * count, IndexConfig(embedders=(), ann_rows=100), [embedder])
    index = PageIndex.open(corpus.root, embedders=[embedder])
    assert index.manifest.vectors[0].indexed
    shares = []
    for name, query in queries.items():
        found = [position_of(page_id) for page_id in index.rankings(name, 10, "vector")[column_of(embedder)]]
        exact = sorted(range(count), key=lambda i: (-max_sim(query, pages[i]), i))[:10]
        assert found == sorted(found, key=lambda i: -max_sim(query, pages[i]))
        shares.append(len(set(found) & set(exact)) / 10)
    assert np.mean(shares) >= 0.99
    assert approximate_recall(index, samples=10) >= 0.99
    assert verify_without_sources(corpus) == []


def test_candidates_grow_with_the_pages_but_more_slowly() -> None:
    assert [candidates(pages, 10, 0) for pages in (50, 1_000, 10_000, 1_000_000)] == [50, 200, 1_000, 31_623]
    # A deeper search and a chosen over-fetch have their way, as far as there are pages.
    assert (candidates(10_000, 2_000, 0), candidates(10_000, 10, 7), candidates(30, 10, 7)) == (2_000, 70, 30)


def test_an_approximate_single_vector_search_finds_the_page(tmp_path: Path) -> None:
    texts = zipf_texts(600, 60, seed=0, vocabulary=3_000)
    config = IndexConfig(embedders=("hash:128",), ann_rows=200)
    corpus, _ = build(tmp_path, texts, config, load_embedders(config))
    index = PageIndex.open(corpus.root)
    assert index.manifest.vectors[0].indexed
    first = [index.rankings(texts[i], 10, "vector")[index.manifest.vectors[0].column][:1] for i in range(0, 600, 60)]
    assert sum(bool(f) and position_of(f[0]) == i for f, i in zip(first, range(0, 600, 60), strict=True)) >= 9


@pytest.mark.parametrize(
    ("limit", "commits", "kept"),
    [
        ({}, 0, 0),
        ({"_PAGES_A_COMMIT": 128}, 2, 256),
        ({"_BYTES_A_COMMIT": 150 * 8 * 4}, 1, 192),
        ({"_SECONDS_A_COMMIT": -1.0}, 4, 256),
    ],
)
def test_vectors_are_committed_by_many_pages(
    limit: dict[str, float], commits: int, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 pages in batches of 64; a build that fails in its last batch keeps what was committed."""
    vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    embedder, config = _Failing(vectors), IndexConfig(embedders=())
    for name, value in limit.items():
        monkeypatch.setattr(f"visor_core.index.build.{name}", value)
    with pytest.raises(RuntimeError, match="at its end"):
        build(tmp_path, ["a"] * 300, config, [embedder])
    corpus = Corpus(tmp_path)
    column, made_filled_and_given_a_column = column_of(embedder), 3
    assert corpus.table("pages").version == made_filled_and_given_a_column + commits
    assert corpus.table("pages").count_rows(f"{column} IS NOT NULL") == kept
    embedder.fails = False
    assert build_index(corpus, config, [embedder]).embedded == 300 - kept
    for row in corpus.table("pages").search().select(["page_id", column]).limit(None).to_list():
        assert row[column] == vectors[position_of(row["page_id"])].tolist()


class _Failing(StoredVectors):
    """Single vectors by position; fails at the last page until it is told not to."""

    multi_vector = False
    fails = True

    def __init__(self, vectors: np.ndarray) -> None:
        super().__init__(lambda position: vectors[position], vectors.shape[1], {})

    def embed_pages(self, pages: Sequence[PageInput]) -> list[Vector]:
        if self.fails and any(position_of(page.page_id) == 299 for page in pages):
            raise RuntimeError("at its end")
        return super().embed_pages(pages)


def verify_without_sources(corpus) -> list[str]:  # type: ignore[no-untyped-def]
    """The faults of a synthetic corpus other than its missing documents."""
    return [fault for fault in verify(corpus) if "under sources/ is missing" not in fault]
