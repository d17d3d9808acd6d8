"""`visor ingest`, `search`, `recall` on real small PDFs, and every kind of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pymupdf
import pytest
from PIL import Image, ImageDraw

from tests.pipelines.conftest import Visor

TEXTS = (
    "Annual report of the harbour office",
    "Staff: forty-seven people work at the quay",
    "Lighthouse maintenance plan",
)


def write_pdf(path: Path, texts: tuple[str, ...] = TEXTS, *, inches: float = 6.0, password: str = "") -> Path:
    """A PDF with one page a text."""
    with pymupdf.open() as document:
        for text in texts:
            page = document.new_page(width=inches * 72, height=inches * 72)
            page.insert_text((40, 60), text, fontsize=14)
        options = {"encryption": pymupdf.PDF_ENCRYPT_AES_256, "user_pw": password} if password else {}
        document.save(path, **options)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `in/`, a PDF and a picture."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "in").mkdir()
    write_pdf(folder / "in" / "harbour.pdf")
    Image.new("RGB", (300, 200), "navy").save(folder / "in" / "picture.png")
    return folder


@pytest.fixture
def ingested(visor: Visor, home: Path) -> Path:
    """Its VISOR_HOME with the two ingested; later calls find nothing to do."""
    outcome = visor("ingest", str(home / "in"), "--set", "documents.ocr=never", home=home / "home")
    assert outcome.code == 0, outcome.err
    return home / "home"


def test_ingest_then_search(visor: Visor, ingested: Path) -> None:
    found = visor("search", "how many people work at the quay", "-k", "2", home=ingested)
    assert found.code == 0
    first = found.out.splitlines()[0]
    assert "harbour.pdf" in first
    assert "page 2" in first
    assert "forty-seven" in found.out


def test_ingest_again_renders_nothing(visor: Visor, ingested: Path, home: Path) -> None:
    again = visor("ingest", str(home / "in"), "--set", "documents.ocr=never", home=ingested)
    assert "2 documents (0 new, 2 unchanged" in again.out
    assert "(0 rendered now" in again.out


def test_pages_without_text_are_counted_with_the_command_that_reads_them(visor: Visor, tmp_path: Path) -> None:
    scan = Image.new("RGB", (600, 400), "white")
    ImageDraw.Draw(scan).text((40, 100), "a line of print that nobody has read", fill="black", font_size=24)
    scan.save(tmp_path / "scan.png")
    pdf = write_pdf(tmp_path / "a.pdf")
    first = visor(
        "ingest", str(pdf), str(tmp_path / "scan.png"), "--set", "documents.ocr=never", home=tmp_path / "home"
    )
    searched = visor("search", "quay", home=tmp_path / "home")
    asked = visor("ask", "how many people work at the quay?", "--policy", "reader", home=tmp_path / "home")
    for said in (first.err, searched.err, asked.err):
        assert "1 of 4 pages have no text, or too little for what they show" in said
        assert "ingest --corpus documents --set documents.ocr=auto" in said
    # Named no documents, it goes on with those that are there.
    again = visor("ingest", "--set", "documents.jpeg_quality=60", "--rerender", home=tmp_path / "home")
    assert "2 documents (0 new" in again.out
    assert "(4 rendered now" in again.out
    assert "name the documents to ingest" in visor("ingest", "--corpus", "none", home=tmp_path / "home").err


def test_search_within_pages_and_document(visor: Visor, ingested: Path) -> None:
    found = visor("search", "harbour quay lighthouse", "--document", "harbour.pdf", "--pages", "3", home=ingested)
    assert next(line for line in found.out.splitlines() if "harbour.pdf" in line).endswith("page 3")
    assert "no page found" in visor("search", "harbour quay", "--partition", "other", home=ingested).out
    wrong = visor("search", "x", "--pages", "9-2", home=ingested)
    assert wrong.code == 2
    assert "9-2" in wrong.err


def test_pictures_and_explanation(visor: Visor, ingested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    found = visor("search", "people at the <b>quay</b>", "--open", "--explain", home=ingested)
    assert found.code == 0, found.err
    (page,) = (ingested / "reports").glob("search-*.html")
    assert opened == [page.as_uri()]
    text = page.read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in text
    assert "<th>ranking</th>" in text
    assert "<b>quay</b>" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "x", "--corpus", "absent"), ("absent", "documents")),
        (("search", "x", "--tag", "absent"), ("absent",)),
        (("search", "x", "--mode", "psychic"), ("psychic", "hybrid")),
        (("search", "x", "--corpus", "../up"), ("../up",)),
        (("recall", "absent.json"), ("absent.json",)),
        (("recall", "absent.json", "--benchmark", "squad"), ("squad", "vidoseek")),
        (("ask", "x?"), ("visor run", "--endpoint")),
        (("ask", "x?", "--checkpoint", "absent-folder"), ("absent-folder",)),
        (("ask", "x?", "--endpoint", "ftp://nowhere", "--model", "m"), ("ftp://nowhere",)),
        (("ask", "x?", "--endpoint", "http://127.0.0.1:9/v1"), ("--model",)),
        (("eval", "--profile", "absent"), ("visor run",)),
        (("report",), ("visor run",)),
        (("replay",), ("asked",)),
    ],
)
def test_what_is_not_there_is_one_line_and_code_2(
    visor: Visor, ingested: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    outcome = visor(*arguments, home=ingested)
    assert outcome.code == 2
    (line,) = outcome.err.strip().splitlines()
    assert line.startswith("visor: ")
    for word in words:
        assert word in line


def test_bad_documents_are_listed_and_the_rest_goes_on(visor: Visor, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    good = write_pdf(folder / "good.pdf")
    write_pdf(folder / "locked.pdf", password="secret")
    write_pdf(folder / "poster.pdf", inches=200)
    (folder / "text.pdf").write_text("only text", encoding="utf-8")
    (folder / "cut.pdf").write_bytes(good.read_bytes()[:300])
    (folder / "empty.pdf").write_bytes(b"")
    (folder / "zero.pdf").write_bytes(
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    )
    outcome = visor("ingest", str(folder), str(tmp_path / "missing"), "--set", "documents.ocr=never")
    assert outcome.code == 0
    listed = [line for line in outcome.err.splitlines() if line.startswith("quarantined: ")]
    named = {line.split(": ")[1] for line in listed}
    assert named == {"locked.pdf", "poster.pdf", "text.pdf", "cut.pdf", "empty.pdf", "zero.pdf", "missing"}
    assert "1 documents (1 new" in outcome.out
    assert "7 quarantined" in outcome.out


def test_nothing_readable_is_an_error(visor: Visor, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in ("missing.pdf", "empty"):
        outcome = visor("ingest", str(tmp_path / source))
        assert outcome.code == 2
        assert source in outcome.err
        assert outcome.err.strip().splitlines()[-1].startswith("visor: ")


def test_settings_at_fault_are_named(visor: Visor, tmp_path: Path) -> None:
    for setting, word in (("documents.dpj=3", "documents.dpj"), ("nonsense", "nonsense"), ("documents.dpi=x", "dpi")):
        outcome = visor("ingest", str(tmp_path), "--set", setting)
        assert outcome.code == 2
        assert word in outcome.err


def test_recall_on_two_questions(visor: Visor, ingested: Path, tmp_path: Path) -> None:
    item = {"doc_id": "harbour.pdf", "question": "lighthouse maintenance", "answer": "x", "evidence_pages": "[3]"}
    item |= {"evidence_sources": "[]", "answer_format": "Str"}
    other = {**item, "doc_id": "elsewhere.pdf"}
    path = tmp_path / "questions.json"
    path.write_text(json.dumps([item, other]), encoding="utf-8")
    outcome = visor("recall", str(path), home=ingested)
    assert outcome.code == 0
    assert "1 questions about 2 documents" in outcome.out
    assert "1 questions left out: document not in the corpus 1" in outcome.out
    assert "mmlongbench-0001: its document elsewhere.pdf is not in the corpus" in outcome.out
    rows = [line for line in outcome.out.splitlines() if "full text (BM25), whole corpus" in line]
    assert "1.000" in rows[0]


def test_index_upkeep(visor: Visor, ingested: Path, home: Path, tmp_path: Path) -> None:
    assert "no fault" in visor("index", "verify", "--deep", home=ingested).out
    before = visor("index", "tags", home=ingested).out
    old = next(line.split()[0] for line in before.splitlines() if line.startswith("index-"))
    write_pdf(tmp_path / "addition.pdf", ("A new first page", "A second", "A third"))
    assert visor("ingest", str(tmp_path / "addition.pdf"), "--set", "documents.ocr=never", home=ingested).code == 0
    changed = visor("index", "diff", old, home=ingested)
    assert "+ addition.pdf" in changed.out
    assert "pages: 3 added, 0 removed, 0 changed" in changed.out
    assert visor("search", "quay", "--tag", old, home=ingested).code == 0
    assert "MiB after" in visor("index", "compact", "--drop", old, home=ingested).out
    gone = visor("index", "diff", old, home=ingested)
    assert gone.code == 2
    assert old in gone.err


def test_a_locked_document_opens_with_its_password_by_reference(
    visor: Visor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pdf(tmp_path / "locked.pdf", ("the vault holds nine keys",), password="canary-swordfish")
    monkeypatch.setenv("VISOR_TEST_PASSWORD", "canary-swordfish")
    password = ("--set", "documents.passwords={locked.pdf: env:VISOR_TEST_PASSWORD}", "--set", "documents.ocr=never")
    assert visor("ingest", str(tmp_path / "locked.pdf"), *password).code == 0
    found = visor("search", "vault keys", "--explain", *password)
    assert found.code == 0, found.err
    assert "locked.pdf" in found.out
    written = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert not [path for path in written if b"canary-swordfish" in path.read_bytes()]


def test_the_permissive_renderer(visor: Visor, tmp_path: Path) -> None:
    write_pdf(tmp_path / "harbour.pdf")
    assert visor("ingest", str(tmp_path / "harbour.pdf"), "--set", "documents.renderer=pdfium").code == 0
    assert "page 2" in visor("search", "people work at the quay", "-k", "1").out


def test_an_embedder_that_is_not_there_is_one_line(visor: Visor, tmp_path: Path) -> None:
    write_pdf(tmp_path / "harbour.pdf")
    for embedder in ("colqwen2.5", "late:absent-folder", "psychic"):
        outcome = visor("ingest", str(tmp_path / "harbour.pdf"), "--set", f"index.embedders=[{embedder!r}]")
        assert outcome.code == 2
        assert len(outcome.err.strip().splitlines()) == 1
