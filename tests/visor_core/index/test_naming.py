"""Questions that name documents: by file name, title, cover and header, by words together or apart, by their time."""

from __future__ import annotations

import doctest
from pathlib import Path

import pymupdf
import pytest

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import DOCUMENTS, INDEX, ingest
from visor_core.documents import headings
from visor_core.documents.reader import open_document
from visor_core.index import Corpus, PageIndex
from visor_core.index.corpus import rows
from visor_core.index.ranking import context, facts, naming, numbers, wording
from visor_core.index.ranking.context import ReadPage, context_of_pages, paths
from visor_core.index.ranking.features import NAMES, features
from visor_core.index.ranking.naming import DocumentNames, Named
from visor_core.index.ranking.reranker import prior, relevance, weights
from visor_core.index.ranking.wording import read


@pytest.mark.parametrize("module", [context, facts, headings, naming, numbers, wording])
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def _names(**files: dict[str, str]) -> DocumentNames:
    return DocumentNames((name, {"file": f"{name}.pdf", **texts}) for name, texts in files.items())


SHELF = _names(
    BRIGHTWATERFOODS_2018_10K={"front": "For the fiscal year ended January 31, 2019"},
    BRIGHTWATERFOODS_2019_10K={"front": "For the fiscal year ended January 31, 2020"},
    doc117={"cover": "Halvorsen & Pike, Inc."},
    scan3={"title": "Household Energy Outlook 2020"},
    QTX_AR18={"title": "Quillon Textile Xports report"},
    notes={"header": "Minutes of the board"},
)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What was Brightwater Foods' revenue in FY2018?", "BRIGHTWATERFOODS_2018_10K"),
        ("brightwater foods capex FY19", "BRIGHTWATERFOODS_2019_10K"),
        ("Brightwater Foods profit for the year ended January 31, 2019", "BRIGHTWATERFOODS_2018_10K"),
        ("How many people does Halvorsen and Pike employ?", "doc117"),
        ("According to the Household Energy Outlook, who heats with gas?", "scan3"),
        ("QTX dividend in 2018", "QTX_AR18"),
    ],
)
def test_a_document_is_named_as_people_name_it(question: str, expected: str) -> None:
    assert next(iter(SHELF.named(read(question), []).meant), None) == expected


def test_a_word_that_other_documents_pages_hold_names_none() -> None:
    asked = read("Which household pays most?")
    word = frozenset({"househ"})
    assert "scan3" in SHELF.named(asked, [("scan3", word)]).meant
    assert SHELF.named(asked, [("scan3", word), *(("notes", word),) * 4]) == Named({}, {})


def test_questions_that_name_nothing_name_nothing() -> None:
    for question in ("", "What is the total?", "売上はいくらですか", "2031"):
        assert SHELF.named(read(question), []).meant == {}
    assert DocumentNames([]).named(read("Acme 2018"), []) == Named({}, {})


def test_a_running_header_and_a_cover_are_told_from_pages() -> None:
    pages = [ReadPage(1, "Acme Industries\nAnnual Report", ["Acme Industries"])]
    pages += [ReadPage(n, f"Acme | {n}\nprose {'abcdef'[n]}\n{n}", []) for n in range(2, 6)]
    told = context_of_pages(pages)
    assert told.cover == "Acme Industries"
    assert told.header == "Acme | 2"
    assert told.front == "Acme Industries Annual Report"
    assert context_of_pages([ReadPage(1, " ", [])]) == context_of_pages([])


def test_a_page_lies_where_its_outline_or_the_heading_above_says() -> None:
    pages = [("a", "", ["Risks"]), ("b", "", []), ("c", "Notes", ["Leases"]), ("d", "", [])]
    assert paths(pages) == {"a": "Risks", "b": "Risks", "c": "Notes › Leases", "d": "Leases"}


@pytest.mark.parametrize("renderer", ["pymupdf", "pdfium"])
def test_outlines_and_headings_are_read(tmp_path: Path, renderer: str) -> None:
    pdf = pymupdf.open()
    for number in range(3):
        page = pdf.new_page()
        page.insert_text((72, 90), f"Chapter {number}", fontsize=20)
        page.insert_text((72, 200), ["Body text of the page that is longer than a heading is."] * 5, fontsize=10)
    pdf.set_toc([[1, "Report", 1], [2, "Risks", 2]])
    pdf.save(tmp_path / "a.pdf")
    document = open_document(tmp_path / "a.pdf", renderer=renderer)  # type: ignore[arg-type]
    assert document.outline() == [(1, "Report", 1), (2, "Risks", 2)]
    assert headings.headings_of(document.words(2)) == ("Chapter 1",)
    assert headings.outline_path(document.outline(), 3) == "Report › Risks"
    document.close()


def test_a_named_document_is_found_first_and_its_context_follows_its_pages(tmp_path: Path) -> None:
    text = ["Annual report", "Net sales were 1,577 and costs 1,204 million.", "Inventories and goodwill"]
    for number, name in enumerate(("VANTORSHIPPING_2018_10K", "VANTORSHIPPING_2019_10K", "PelhamBrewing-2018")):
        write_pdf(tmp_path / f"{name}.pdf", [f"{line} {number}" for line in text])
    corpus = tmp_path / "corpus"
    ingest(corpus, [tmp_path])
    index = PageIndex.open(corpus)
    for question in ("What were Vantor Shipping's net sales in FY2019?", "net sales of vantor shipping 2019"):
        hit = index.search(question, k=3)[0]
        assert (hit.filename, hit.page) == ("VANTORSHIPPING_2019_10K.pdf", 2)
    held = {
        r["document_id"]: r["context_key"]
        for r in rows(Corpus(corpus).table("documents"), ["document_id", "context_key"])
    }
    version = Corpus(corpus).table("documents").version
    ingest(corpus, [tmp_path], documents=DOCUMENTS, index=INDEX)
    assert Corpus(corpus).table("documents").version == version
    assert all(held.values())


@pytest.mark.parametrize("asked", ["1577", "1,577", "1577.00", "1.577,0", "$1.577 billion", "1577 million", "١٥٧٧"])
def test_a_number_is_found_in_every_printed_form(tmp_path_factory: pytest.TempPathFactory, asked: str) -> None:
    root = tmp_path_factory.getbasetemp() / "numbers"
    if not root.exists():
        ingest(
            root / "corpus", [write_pdf(root / "a.pdf", ["Sales 1,577 of 2018", "Sales 1,755 of 2019", "Other 3.5"])]
        )
    assert PageIndex.open(root / "corpus").search(asked, mode="text")[0].page == 1


@pytest.mark.parametrize("asked", ["third quarter sales", "sales in Q3", "3Q18 sales"])
def test_quarters_are_found_in_every_writing(tmp_path_factory: pytest.TempPathFactory, asked: str) -> None:
    root = tmp_path_factory.getbasetemp() / "quarters"
    if not root.exists():
        texts = ["Sales by quarter, see below", "Third quarter 12 sales", "Q2 10 sales"]
        ingest(root / "corpus", [write_pdf(root / "a.pdf", texts)])
    assert PageIndex.open(root / "corpus").search(asked, mode="text")[0].page == 2


def test_features_by_hand() -> None:
    asked = read("What were net sales in Figure 2, page 3, in 2018?")
    said = wording.terms("Net sales 1,577 in Figure 2, 2018")
    found = {"a/00003": facts.facts_of(" ".join(said), "Sales"), "b/00001": facts.facts_of("", "")}
    scores = {"text": {"a/00003": 4.0, "b/00001": 1.0}, "passages": {"a/00003": 2.0}}
    table = features(asked, list(found), scores, found, Named({"b": 0.5}, {"a": 1.0}))
    first, second = (dict(zip(NAMES, row, strict=True)) for row in table.tolist())
    assert (first["text"], second["text"]) == (1.0, 0.25)
    assert (first["text rank"], second["text rank"]) == (1.0, pytest.approx(5 / 6))
    assert (first["passages rank"], second["passages rank"]) == (1.0, 0.0)
    assert (first["page number"], first["place"], first["year"]) == (1.0, 1.0, 1.0)
    assert (second["page number"], second["place"], second["year"], second["words"]) == (0.0, 0.0, 0.0, 0.0)
    assert (first["document named"], second["document named"], first["document's time"]) == (0.0, 0.5, 1.0)
    assert 0 < first["words"] < 1
    assert 0 < first["section"] < first["words"]


def test_the_stored_weights_are_of_these_features_and_few() -> None:
    assert weights().shape == prior().shape == (len(NAMES),)
    assert relevance(
        features(read("x"), ["a/00001"], {}, {"a/00001": facts.facts_of("", "")}, Named({}, {}))
    ).shape == (1,)
