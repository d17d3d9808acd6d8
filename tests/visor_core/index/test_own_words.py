"""Pages are found by words of their own, whatever stands on all of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.visor_core.documents.writing import write_pdf
from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages
from visor_core.index.own_words import own_words, share_found

HEADER = "Annual Report of the Acme Company for the Business Year 2026 - all rights reserved"
SUBJECTS = [
    f"{kind} {place}" for kind in ("rain", "snow", "wind", "fog", "hail") for place in ("north", "south", "east")
]


def test_own_words_are_those_that_the_fewest_pages_share() -> None:
    pages = [f"{HEADER} rain soaked Borel", f"{HEADER} snow covered Delta"]
    counts = Counter(word for page in pages for word in set(page.lower().split()))
    assert own_words(pages[0], counts, 3) == "rain soaked borel"
    assert own_words("Rain", counts) == "rain"


def test_pages_with_the_same_words_are_found_as_one() -> None:
    pages = [(f"p{number}", "the same form") for number in range(30)] + [("empty", " ")]
    assert share_found(pages, lambda words: ["p7"], tried=40) == (1.0, 30)
    assert share_found([("empty", "")], lambda words: [], tried=40) == (1.0, 0)
    assert share_found([("a", "rain in Borel"), ("b", "snow")], lambda words: ["b"], tried=40) == (0.5, 2)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_running_header_hides_no_page(tmp_path: Path) -> None:
    """By its first words each page is like all others; by its own words each is found."""
    pages_of_text = [f"{HEADER}\n{subject} {number}" for number, subject in enumerate(SUBJECTS)]
    write_pdf(tmp_path / "a.pdf", pages_of_text, size=(1200, 300))
    corpus, documents, config = Corpus(tmp_path / "corpus"), DocumentsConfig(ocr="never", workers=1), IndexConfig()
    register_documents(corpus, [tmp_path / "a.pdf"], documents)
    render_pages(corpus, documents)
    index = PageIndex.open(corpus.root, build_index(corpus, config, load_embedders(config)).index_tag)
    pages = [(page.page_id, page.text) for page in index.pages()]

    def search(words: str) -> list[str]:
        return [hit.page_id for hit in index.search(words, k=3, mode="text")]

    by_first_words = sum(page_id in search(" ".join(text.split()[:12])) for page_id, text in pages)
    assert by_first_words <= 3
    assert share_found(pages, search, tried=40) == (1.0, len(SUBJECTS))
    index.close()
