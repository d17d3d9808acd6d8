"""Words of many scripts, as a person sees and types them, are found, and their boxes lie on their ink."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from tests.visor_core.documents.scripts import SAMPLES, Sample, red_box, write_sample
from tests.visor_core.documents.writing import mapped_font, write_pdf, write_raw_pdf
from tests.visor_core.index.conftest import DOCUMENTS, INDEX, ingest
from visor_core.config.corpus import Language
from visor_core.errors import SearchIndexError
from visor_core.index import Corpus, PageIndex, build_index, keep_settings, load_embedders
from visor_core.index.corpus import rows
from visor_core.index.languages import STEMMERS, function_words, language_of
from visor_core.index.marks import boxes
from visor_core.index.snippets import Snippets
from visor_core.index.terms import content_words, query_terms, terms_of
from visor_core.policies.base import ImageRef

RENDERERS = ("pymupdf", "pdfium")
_ENGLISH = (
    "The revenues of the company were under review. Few of the members of the board agreed, most of them did not."
)


@pytest.fixture(scope="module", params=RENDERERS)
def samples(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    """A corpus of one page in each language, by each renderer."""
    root = tmp_path_factory.mktemp("samples")
    for sample in SAMPLES:
        write_sample(root / "files" / f"{sample.language}.pdf", sample)
    letters = {code: chr(code) for code in range(97, 123)} | {65: "\ufb01", 66: "e\u0301"}
    content = b"BT /F1 24 Tf 40 200 Td (Anance and soirBe) Tj ET"
    write_raw_pdf(root / "files" / "forms.pdf", content, mapped_font(letters))
    write_pdf(root / "files" / "en.pdf", [_ENGLISH], size=(900, 200))
    config = DOCUMENTS.model_copy(update={"renderer": request.param})
    ingest(root / "corpus", [root / "files"], documents=config)
    return PageIndex.open(root / "corpus")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.language)
def test_a_word_is_found_and_its_box_lies_on_the_ink(samples: PageIndex, sample: Sample) -> None:
    for query in sample.queries:
        for typed in (query, unicodedata.normalize("NFD", query)):
            hits = samples.search(typed, k=3, mode="text")
            assert [hit.filename for hit in hits][:1] == [f"{sample.language}.pdf"], typed
    page = samples.page(hits[0].page_id)
    x0, y0, x1, y1 = red_box(samples(ImageRef(page.page_id, 1120, 600)))
    ((a, b, c, d),) = boxes(page.words, sample.red)
    assert a - 0.012 <= x0 < x1 <= c + 0.012, (a, x0, x1, c)
    assert b - 0.02 <= y0 < y1 <= d + 0.02
    assert c - a < 1.25 * (x1 - x0) + 0.02
    assert d - b < 0.15


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.language)
def test_the_text_is_what_is_written(samples: PageIndex, sample: Sample) -> None:
    (page,) = (page for page in samples.pages() if page.filename == f"{sample.language}.pdf")
    written = f"{sample.before}{sample.red}{sample.after}"
    assert unicodedata.normalize("NFKC", page.text) == unicodedata.normalize("NFKC", written)


@pytest.mark.parametrize("query", ["finance", "ﬁnance", "soirée", "soire\u0301e", "SOIRÉE", "soiree"])
def test_ligatures_and_accents_are_found_however_they_are_stored(samples: PageIndex, query: str) -> None:
    assert [hit.filename for hit in samples.search(query, k=1, mode="text")] == ["forms.pdf"]


@pytest.mark.parametrize("query", ["few", "most", "under", "revenue"])
def test_words_that_carry_meaning_are_found(samples: PageIndex, query: str) -> None:
    hits = samples.search(query, k=1, mode="text")
    assert [hit.filename for hit in hits] == ["en.pdf"]
    assert "passages" in hits[0].ranks


def test_a_snippet_of_text_without_spaces_is_where_the_word_is(samples: PageIndex) -> None:
    long = "公司" * 100 + "净利润" + "公司" * 100
    cut = Snippets("净利润").of(long)
    assert "净利润" in cut
    assert len(cut) < 80


def test_each_document_is_indexed_in_its_language(samples: PageIndex) -> None:
    assert set(samples.manifest.settings["languages"]) >= {"zh", "ja", "ko", "th", "he", "en"}
    assert language_of("Годовая выручка компании выросла в этом году, как и прибыль, но не на всех рынках") == "ru"
    assert language_of("Quarterly 12 34 56 EBITDA") == ""
    assert language_of("Les revenus de la société ont augmenté dans tous les pays où elle est présente") == "fr"


def test_terms_are_those_of_a_language() -> None:
    assert terms_of("Die Häuser der Gesellschaften", "de") == ["haus", "gesellschaft"]
    assert terms_of("выручки компаний", "ru") == terms_of("выручка компании", "ru")
    assert terms_of("the running") == ["the", "running"]
    assert query_terms("die Häuser", ("de", "en", "")) == ["haus", "hauser"]
    assert content_words("how many of the few are under 5 %?") == ["many", "few", "under", "5"]


def test_languages_are_named_alike_everywhere() -> None:
    known = set(Language.__args__) - {"auto", "none"}  # type: ignore[attr-defined]
    assert set(STEMMERS) | set(function_words()) <= known


def test_another_language_cuts_the_passages_anew_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    _, _, first = ingest(root, [write_pdf(tmp_path / "a.pdf", [_ENGLISH])])
    corpus = Corpus(root)
    index = ingest(root, [tmp_path / "a.pdf"])[2]
    assert (index.changed, index.data_version) == (False, first.data_version)
    german = DOCUMENTS.model_copy(update={"language": "de"})
    _, rendered, second = ingest(root, [tmp_path / "a.pdf"], documents=german)
    assert (rendered.rendered, second.embedded, second.changed) == (0, 0, True)
    assert {row["language"] for row in rows(corpus.table("passages"), ["language"])} == {"de"}
    keep_settings(corpus, documents=DOCUMENTS)
    third = build_index(corpus, INDEX, load_embedders(INDEX))
    assert third.data_version == first.data_version


def test_an_index_of_an_earlier_version_names_the_command_that_builds_it_again(tmp_path: Path) -> None:
    ingest(tmp_path / "corpus", [write_pdf(tmp_path / "a.pdf", [_ENGLISH])])
    path = tmp_path / "corpus" / "tags" / "latest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["settings"]["languages"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(SearchIndexError, match="another version of visor: `visor ingest --corpus corpus` builds it"):
        PageIndex.open(tmp_path / "corpus")
    ingest(tmp_path / "corpus", [])
    assert PageIndex.open(tmp_path / "corpus").search("few", k=1, mode="text")
