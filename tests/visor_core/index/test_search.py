"""Search with its modes and filters, pages, documents and pictures of an opened index."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import numpy as np
import pytest

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import ANIMALS, INDEX, ingest
from visor_core.config import IndexConfig
from visor_core.errors import DocumentError, SearchIndexError
from visor_core.geometry import Box
from visor_core.index import PageIndex, load_embedders
from visor_core.index.embedders.base import column_of
from visor_core.index.explain import explain, page_html, similarity_map, similarity_maps
from visor_core.policies.base import ImageRef

MODES = ("text", "vector", "hybrid")


def places(hits: list) -> list[tuple[str, int]]:  # type: ignore[type-arg]
    return [(hit.filename, hit.page) for hit in hits]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Where do zebras graze?", ("animals.pdf", 2)),
        ("revenue in 2023", ("acme_report.pdf", 2)),
        ("jumping foxes", ("animals.pdf", 1)),
        ("ACME annual report", ("acme_report.pdf", 1)),
    ],
)
def test_the_page_that_says_it_comes_first(index: PageIndex, mode: str, query: str, expected: tuple[str, int]) -> None:
    hits = index.search(query, mode=mode)  # type: ignore[arg-type]
    assert places(hits)[0] == expected
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert len({h.page_id for h in hits}) == len(hits)


def test_filters(index: PageIndex) -> None:
    query = "annual zebras revenue whales fox headcount"
    assert {h.filename for h in index.search(query)} == {"animals.pdf", "acme_report.pdf"}
    assert {h.filename for h in index.search(query, partition="part-one")} == {"animals.pdf"}
    assert {h.filename for h in index.search(query, document="acme_report.pdf")} == {"acme_report.pdf"}
    by_id = index.search(query, document=index.search("revenue")[0].document_id)
    assert {h.filename for h in by_id} == {"acme_report.pdf"}
    assert {h.page for h in index.search(query, pages="2-")} == {2, 3}
    assert {h.page for h in index.search(query, pages=(1, 1))} == {1}
    assert index.search(query, partition="o'brien") == []
    assert len(index.search(query, k=1)) == 1
    with pytest.raises(SearchIndexError, match=r"no document 'nothing\.pdf'"):
        index.search(query, document="nothing.pdf")


def test_a_page_number_in_the_query_counts(index: PageIndex) -> None:
    assert places(index.search("what is on page 3?", document="animals.pdf"))[0] == ("animals.pdf", 3)


@pytest.mark.parametrize(
    "query", ["", "   ", "???", "\0", "xyzzy" * 300, '"unbalanced', "a:b AND (", "\U0001f98a", "the of"]
)
def test_odd_queries_do_no_harm(index: PageIndex, query: str) -> None:
    for mode in MODES:
        index.search(query, mode=mode)  # type: ignore[arg-type]


def test_search_is_the_same_async_again_and_reopened(index: PageIndex) -> None:
    first = index.search("revenue of the fox", k=5)
    assert asyncio.run(index.search_async("revenue of the fox", k=5)) == first
    assert PageIndex.open(index.corpus.root).search("revenue of the fox", k=5) == first
    first.clear()
    assert index.search("revenue of the fox", k=5) != []


def test_bad_requests_name_themselves(index: PageIndex) -> None:
    with pytest.raises(SearchIndexError, match=r"k starts at 1"):
        index.search("fox", k=0)
    with pytest.raises(SearchIndexError, match="search mode 'psychic' is unknown"):
        index.search("fox", mode="psychic")  # type: ignore[arg-type]
    with pytest.raises(SearchIndexError, match="is no page id"):
        index.page("animals.pdf")
    with pytest.raises(SearchIndexError, match=r"no index tag 'none': give --tag one of index-"):
        PageIndex.open(index.corpus.root, "none")
    with pytest.raises(SearchIndexError, match="no corpus at"):
        PageIndex.open(Path("/nonexistent/corpus"))


def test_pages_and_documents(index: PageIndex) -> None:
    pages = list(index.pages())
    assert len(pages) == 7
    assert [p.page_id for p in pages] == sorted(p.page_id for p in pages)
    page = index.page(index.search("zebras")[0].page_id)
    assert (page.filename, page.page, page.partition, page.text_source) == ("animals.pdf", 2, "part-one", "layer")
    assert (page.width_pt, page.height_pt, page.image_width) == (400, 300, 400)
    assert page.words[0].text == "Zebras"
    assert 0.09 < page.words[0].x0 < 0.11
    assert [(d.filename, d.num_pages, d.status, d.title) for d in index.documents()] == [
        ("acme_report.pdf", 3, "ok", ""),
        ("animals.pdf", 3, "ok", "On animals"),
        ("logo.png", 1, "ok", ""),
    ]
    assert index.raster(page.page_id).size == (400, 300)


def test_pictures_have_the_requested_size_and_show_the_box(index: PageIndex) -> None:
    page_id = index.search("zebras")[0].page_id
    ref = ImageRef(page_id, 128, 128, Box(0.0, 0.1, 0.3, 0.4))
    image = index(ref)
    assert image.size == (128, 128)
    assert image.tobytes() == index(ref).tobytes() == PageIndex.open(index.corpus.root)(ref).tobytes()
    assert np.asarray(index(ImageRef(page_id, 64, 64, Box(0.5, 0.5, 1, 1)))).min() == 255
    assert np.asarray(image).min() < 128
    with pytest.raises(SearchIndexError, match=r"has 3 pages, there is no page 4"):
        index(ImageRef(page_id[:-1] + "4", 10, 10))
    with pytest.raises(SearchIndexError, match="is not in index"):
        index(ImageRef("0" * 32 + "/00001", 10, 10))
    with pytest.raises(DocumentError, match="not drawn"):
        index(ImageRef(page_id, 10**6, 10**6))


def test_explanations_escape_what_documents_say(index: PageIndex) -> None:
    query = "<script>alert(1)</script> zebras"
    found = explain(index, query, k=2)
    assert found[0].hit.filename == "animals.pdf"
    assert found[0].similarity is None
    page = page_html(index, query, found)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "data:image/jpeg;base64," in page
    assert "blue:" not in page
    assert similarity_maps(index, query, [found[0].hit.page_id]) == {}


def test_a_similarity_map_is_the_best_query_token_at_each_patch() -> None:
    query = np.array([[1, 0], [0, 1]], np.float32)
    tokens = np.array([[9, 9], [1, 0], [0, 0.5], [0, 0], [0, 0.25]], np.float32)
    found = similarity_map(query, tokens, np.array([[1, 2], [3, 4]]))
    assert found.tolist() == [[1.0, 0.5], [0.0, 0.25]]
    # Tokens that are no patch, here the first, have no place on the page.
    assert similarity_map(query, tokens, np.array([[3, 3]])).tolist() == [[0.0, 0.0]]


def test_two_columns_of_one_family_are_two_rankings(tmp_path: Path) -> None:
    config = INDEX.model_copy(update={"embedders": ("hash:256", "hash:512")})
    ingest(tmp_path, [write_pdf(tmp_path / "a.pdf", ANIMALS)], index=config)
    for embedders in (None, load_embedders(config)):
        found = PageIndex.open(tmp_path, embedders=embedders)
        (hit,) = found.search("zebras", k=1, mode="vector")
        assert hit.page == 2
        assert set(hit.ranks) == {column_of(e) for e in load_embedders(config)}


def test_a_corpus_without_vectors_says_what_it_can_be_searched_by(tmp_path: Path) -> None:
    """None are made unless they are asked for."""
    config = IndexConfig()
    ingest(tmp_path / "my reports", [write_pdf(tmp_path / "a.pdf", ANIMALS)], index=config)
    found = PageIndex.open(tmp_path / "my reports")
    assert found.manifest.vectors == ()
    assert found.search("zebras", k=1)[0].page == 2
    command = "visor ingest --corpus 'my reports' --set 'index.embedders=[hash]'"
    with pytest.raises(SearchIndexError, match=f"has no vectors to search by.*{re.escape(command)}"):
        found.search("zebras", mode="vector")
