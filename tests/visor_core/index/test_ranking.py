"""The pure pieces of ranking: fusion, MaxSim, windows, snippets, page filters, the hashed embedder."""

from __future__ import annotations

import doctest

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visor_core.config import IndexConfig
from visor_core.errors import ConfigError, SearchIndexError
from visor_core.index import folding, fusion, languages, load_embedders, marks, passages, terms
from visor_core.index.embedders.base import PageInput
from visor_core.index.embedders.hashing import HashEmbedder
from visor_core.index.fusion import reciprocal_rank_fusion
from visor_core.index.multivector import max_sim, max_sim_many, order_by_score
from visor_core.index.passages import windows
from visor_core.index.records import page_id_of, parse_pages, split_page_id
from visor_core.index.snippets import Snippets


@pytest.mark.parametrize("module", [folding, fusion, languages, marks, passages, terms])
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_reciprocal_rank_fusion_by_hand() -> None:
    fused = dict(reciprocal_rank_fusion({"a": ["x", "y"], "b": ["y"]}, {"a": 2.0}, k=5))
    assert fused == {"x": 2 / 6, "y": 2 / 7 + 1 / 6}
    assert [name for name, _ in reciprocal_rank_fusion({"a": ["x"], "b": ["w"]})] == ["w", "x"]


def test_max_sim_by_hand() -> None:
    query = np.array([[1, 0], [0, 1]], np.float32)
    pages = [[[1, 0], [0.5, 0.5]], [[0, 1]], [], None]
    assert max_sim(query, np.array(pages[0], np.float32)) == 1.5
    column = pa.array(pages, pa.list_(pa.list_(pa.float16(), 2)))
    assert max_sim_many(query, column).tolist() == [1.5, 1.0, 0.0, 0.0]
    assert max_sim_many(query, pa.chunked_array([column[:1], column[1:2]])).tolist() == [1.5, 1.0]
    assert max_sim_many(query, column[1:2]).tolist() == [1.0]
    assert order_by_score(["b", "a", "c"], np.array([1, 1, 2], np.float32)) == [("c", 2.0), ("a", 1.0), ("b", 1.0)]


@given(st.lists(st.text("ab", min_size=1, max_size=3), max_size=60), st.integers(1, 12), st.integers(0, 11))
def test_windows_cover_every_word_and_are_full(words: list[str], size: int, overlap: int) -> None:
    marked = [f"{word}{i}" for i, word in enumerate(words)]
    cut = [window.split() for window in windows(" ".join(marked), size, overlap)]
    assert {w for window in cut for w in window} == set(marked)
    assert all(len(window) == min(size, len(marked)) for window in cut)


def test_a_snippet_is_where_the_terms_are() -> None:
    text = " ".join(["filler"] * 100 + ["net", "revenue", "rose"] + ["filler"] * 100)
    cut = Snippets("what was the net revenue?").of(text, length=10)
    assert "net revenue" in cut
    assert cut.startswith("… ")
    assert cut.endswith(" …")
    assert len(cut.split()) == 12
    assert Snippets("x").of("") == ""
    assert Snippets("x").of("short text") == "short text"


@given(st.text(max_size=30))
def test_page_filters_are_ranges_or_an_error(text: str) -> None:
    try:
        ranges = parse_pages(text)
    except SearchIndexError:
        return
    assert ranges
    assert all(a >= 1 and (b is None or b >= a) for a, b in ranges)


def test_page_filters_by_hand() -> None:
    assert parse_pages("3") == [(3, 3)]
    assert parse_pages("1, 4-6,10-,-2") == [(1, 1), (4, 6), (10, None), (1, 2)]
    for wrong in ("", "0", "7-3", "a", "1 2", "--3", "1,,2", "-"):
        with pytest.raises(SearchIndexError, match="page"):
            parse_pages(wrong)


@given(st.text(max_size=60))
def test_page_ids_are_taken_apart_or_refused(text: str) -> None:
    assert split_page_id(page_id_of("ab", 12)) == ("ab", 12)
    try:
        document_id, page = split_page_id(text)
    except SearchIndexError:
        return
    assert text.startswith(document_id)
    assert page >= 0


def _page(text: str) -> PageInput:
    return PageInput("p", text, "", lambda: None)  # type: ignore[arg-type,return-value]


def test_the_hashed_embedder_forgives_inflection_and_weighs_rare_words() -> None:
    embedder = HashEmbedder(512)
    vectors = embedder.embed_pages(
        [_page(t) for t in ("companies reporting", "report on zebras", "report on whales", "")]
    )
    assert [round(float(np.linalg.norm(v)), 5) for v in vectors] == [1, 1, 1, 0]
    query = embedder.embed_query("company reports")
    assert query @ vectors[0] > 0.2
    weights = embedder.statistics(iter(vectors))
    rare = embedder.embed_query("report zebra", weights)
    assert rare @ vectors[1] > rare @ vectors[2] > 0
    assert not np.any(embedder.embed_query("the of and"))
    assert HashEmbedder(512).fingerprint == embedder.fingerprint != HashEmbedder(256).fingerprint


def test_unknown_embedders_are_refused_by_name() -> None:
    for spec, error, words in (
        ("nonsense", ConfigError, "'nonsense' is unknown"),
        ("hash:3", ConfigError, "from 16 to 65536"),
        ("late:/no/such/folder", SearchIndexError, "there is no folder"),
    ):
        with pytest.raises(error, match=words):
            load_embedders(IndexConfig(embedders=(spec,)))
