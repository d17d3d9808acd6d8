"""What of a query is searched for: its rarest terms, for a bounded cost."""

from __future__ import annotations

import doctest
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.synthetic_corpus import build, zipf_texts
from visor_core.config import IndexConfig
from visor_core.index import PageIndex, cutting, rarity, storage, stored_pages
from visor_core.index.rarity import MOST_TERMS, Rarity, read_rarity, shares_of


@pytest.mark.parametrize("module", [rarity, cutting, storage])
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_the_rarest_terms_are_afforded_in_the_order_of_the_query() -> None:
    known = Rarity({"t": {"the": 0.9, "annual": 0.4, "report": 0.3, "acme": 0.01}})
    assert known.affordable("t", ["the", "annual", "acme", "report", "acme", "4711"], 0.5) == ["acme", "report", "4711"]
    assert known.affordable("t", ["the"], 0.1) == ["the"]  # all there is, whatever it costs
    assert known.affordable("t", ["the", "annual"], 2.0) == ["the", "annual"]
    assert known.affordable("other", ["the", "annual"], 0.1) == ["the", "annual"]
    assert known.affordable("t", [], 1.0) == []


@given(
    st.lists(st.text("abc", min_size=1, max_size=3), max_size=300),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0.01, 1.0)),
    st.floats(0.1, 5.0),
)
def test_a_query_never_costs_more_than_its_budget_or_one_term(
    terms: list[str], shares: dict[str, float], postings: float
) -> None:
    chosen = Rarity({"t": shares}).affordable("t", terms, postings)
    assert len(chosen) == len(set(chosen)) <= MOST_TERMS
    assert bool(chosen) == bool(terms)
    assert len(chosen) == 1 or sum(shares.get(term, 0.0) for term in chosen) <= postings + 1e-6


def test_shares_are_counted_by_pages() -> None:
    assert shares_of([{"a", "b"}, {"a"}, {"a", "c"}, {"b"}]) == {"a": 0.75, "b": 0.5}
    assert shares_of([]) == {}


def test_long_queries_ask_for_few_terms_and_find_their_page(tmp_path: Path) -> None:
    texts = zipf_texts(300, 80, seed=5, vocabulary=2_000)
    corpus, report = build(tmp_path, texts, IndexConfig(embedders=()), [])
    index = PageIndex.open(tmp_path)
    told = read_rarity(corpus.root / "statistics" / index.manifest.rarity)
    counted = Counter(word for text in texts for word in set(text.split()))
    most = max(counted, key=counted.__getitem__)
    assert max(told.shares["passages"].values()) == pytest.approx(counted[most] / 300, abs=1e-3)
    query = " ".join([*texts[7].split()] * 9)
    assert len(query.split()) == 720
    assert index.search(query, k=1)[0].page == 8
    again, _ = build(tmp_path / "again", texts, IndexConfig(embedders=()), [])
    assert PageIndex.open(again.root).manifest.rarity == index.manifest.rarity
    assert report.pages == 300


def test_reading_all_pages_reads_each_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2,500 pages are three look-ups of a thousand; one page is looked up by an index, not by reading the table."""
    build(tmp_path, zipf_texts(2_500, 10, seed=1, vocabulary=500), IndexConfig(embedders=()), [])
    index = PageIndex.open(tmp_path)
    read: list[tuple[tuple[str, ...], int]] = []
    kept = stored_pages.rows

    def counting(table: object, columns: tuple[str, ...], where: str = "") -> list[dict[str, object]]:
        found = kept(table, columns, where)
        read.append((tuple(columns), len(found)))
        return found

    monkeypatch.setattr(stored_pages, "rows", counting)
    assert len(list(index.pages())) == 2_500
    assert [count for columns, count in read if "words" in columns] == [1_000, 1_000, 500]
    read.clear()
    assert len(list(index.texts())) == 2_500
    assert sum(count for columns, count in read if "text" in columns) == 2_500
    assert not any("words" in columns for columns, _ in read)
    read.clear()
    hits = index.search("ba", k=5)
    assert [(columns, count) for columns, count in read if len(columns) > 1] == [(stored_pages.TEXT_COLUMNS, len(hits))]
    table = index.corpus.table("pages")
    plan = table.search().where(f"page_id = '{hits[0].page_id}'").select(["text"]).explain_plan()
    assert "ScalarIndexQuery" in plan
