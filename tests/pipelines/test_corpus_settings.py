"""A corpus's settings hold for every way in: the command line, the page's inbox, a run under another profile."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from pipelines.choice import Choice
from pipelines.run import RunSummary
from tests.pipelines.conftest import Visor
from tests.pipelines.materializing import materialize
from tests.visor_core.documents.writing import write_pdf
from visor_core.config import Home
from visor_core.index import PageIndex

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # LanceDB and Dagster leave sockets to the collector

FIRST = "Annual report of the harbour office, with forty-seven people at the quay"
SETTINGS = ("--set", "documents.dpi=72", "--set", "index.embedders=[hash:256, hash:512]")
NFC, NFD = (unicodedata.normalize(form, "Bücher-résumé.pdf") for form in ("NFC", "NFD"))


def _run(home: Path, choice: Choice, select: str) -> RunSummary:
    return materialize(choice, Home(home), [select], corpus="mine")


def _specs(home: Path, corpus: str = "documents") -> list[str]:
    return [vector.spec for vector in PageIndex.open(home / "corpora" / corpus).manifest.vectors]


def test_an_ingest_that_names_no_embedder_keeps_their_vectors(visor: Visor, tmp_path: Path) -> None:
    source = str(write_pdf(tmp_path / "a.pdf", [FIRST, "Lighthouses"]))
    assert visor("ingest", source, *SETTINGS).code == 0
    again = visor("ingest", source)
    assert "(0 rendered now" in again.out
    assert _specs(tmp_path / "home") == ["hash:256", "hash:512"]
    more = visor("ingest", source, "--set", "index.embedders=[hash]")
    assert "adds vectors of hash: 2 pages are embedded" in more.err
    assert _specs(tmp_path / "home") == ["hash:256", "hash:512", "hash"]
    less = visor("ingest", source, "--drop-column", "hash:512")
    assert "2 vectors are lost" in less.err
    assert _specs(tmp_path / "home") == ["hash:256", "hash"]
    shown = visor("index", "settings").out
    assert "documents.dpi=72" in shown
    assert "index.embedders=['hash:256', 'hash']" in shown


def test_another_resolution_needs_its_word(visor: Visor, tmp_path: Path) -> None:
    source = str(write_pdf(tmp_path / "a.pdf", [FIRST]))
    assert visor("ingest", source).code == 0
    refused = visor("ingest", source, "--set", "documents.dpi=36")
    assert refused.code == 2
    (line,) = refused.err.strip().splitlines()
    assert "documents.dpi=36 instead of 144 renders 1 pages anew, at a lower resolution" in line
    assert "--rerender" in line
    meant = visor("ingest", source, "--set", "documents.dpi=36", "--rerender")
    assert "renders 1 pages anew" in meant.err
    assert "(1 rendered now" in meant.out
    assert "(0 rendered now" in visor("ingest", source).out


def test_a_profile_that_contradicts_is_told_and_does_not_hold(visor: Visor, tmp_path: Path) -> None:
    source = str(write_pdf(tmp_path / "a.pdf", [FIRST]))
    assert visor("ingest", source).code == 0
    told = visor("ingest", source, "--profile", "nano")
    assert told.code == 0
    assert "keeps its settings documents.dpi=144 (not 36)" in told.err
    assert "(0 rendered now" in told.out


def test_pruning_says_what_it_costs(visor: Visor, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_pdf(folder / "a.pdf", [FIRST])
    gone = write_pdf(folder / "b.pdf", ["Lighthouses", "Quays"])
    assert visor("ingest", str(folder)).code == 0
    gone.unlink()
    pruned = visor("ingest", str(folder), "--prune")
    assert "retires 1 documents (b.pdf): 2 pages and their vectors go" in pruned.err


@pytest.mark.slow
def test_the_inbox_does_not_read_a_users_documents_as_toy_pages(tmp_path: Path) -> None:
    write_pdf(tmp_path / "inbox" / "mine" / "a.pdf", [FIRST])
    choice = Choice("nano")
    assert _run(tmp_path, choice, "page_index").built == 3
    index = PageIndex.open(tmp_path / "corpora" / "mine")
    (page,) = index.pages()
    assert (page.dpi, page.image_width) == (144, 800)
    assert index.manifest.settings["embed_pixels"] == 0


@pytest.mark.slow
def test_a_run_under_another_profile_keeps_a_corpus_as_it_is(visor: Visor, tmp_path: Path) -> None:
    home = tmp_path / "home"
    source = write_pdf(home / "inbox" / "mine" / "a.pdf", [FIRST])
    assert visor("ingest", str(source), "--corpus", "mine", *SETTINGS).code == 0
    choice = Choice("nano")
    assert _run(home, choice, "page_index").figures("pages", "mine")["rendered"] == 0
    assert _specs(home, "mine") == ["hash:256", "hash:512"]
    assert {page.dpi for page in PageIndex.open(home / "corpora" / "mine").pages()} == {72}
    # What the command line changes is seen by the graph.
    assert visor("ingest", str(source), "--corpus", "mine", "--set", "documents.dpi=100", "--rerender").code == 0
    again = _run(home, choice, "page_index")
    assert {str(r.node) for r in again.results if r.state != "unchanged"} >= {"documents[mine]", "pages[mine]"}
    assert again.figures("pages", "mine")["rendered"] == 0


@pytest.mark.slow
def test_a_profile_of_a_real_model_does_not_drop_what_is_there(tmp_path: Path, visor: Visor) -> None:
    home = tmp_path / "home"
    source = write_pdf(home / "inbox" / "mine" / "a.pdf", [FIRST])
    assert visor("ingest", str(source), "--corpus", "mine", *SETTINGS).code == 0
    choice = Choice("smolvlm", {"index.embedders": ["hash"]})
    _run(home, choice, "page_index")
    assert _specs(home, "mine") == ["hash:256", "hash:512"]


def test_names_that_repeat_are_shown_with_their_folder(visor: Visor, tmp_path: Path) -> None:
    for year in ("2022", "2023"):
        write_pdf(tmp_path / "in" / year / "report.pdf", [f"{FIRST} in {year}"])
    assert visor("ingest", str(tmp_path / "in")).code == 0
    found = visor("search", "annual report 2023", "-k", "2").out
    assert {line.split()[2] for line in found.splitlines() if " page " in line} == {
        "2022/report.pdf",
        "2023/report.pdf",
    }
    one = visor("search", "annual report", "--document", "2022/report.pdf").out
    assert [line.split()[2] for line in one.splitlines() if " page " in line] == ["2022/report.pdf"]
    both = visor("search", "annual report", "--document", "report.pdf").out
    assert both.count("report.pdf page 1") == 2


def test_a_name_in_its_other_unicode_form_is_the_same_document(visor: Visor, tmp_path: Path) -> None:
    assert len(NFC) < len(NFD)
    folder = tmp_path / "in"
    write_pdf(folder / NFD, [FIRST])
    assert "1 documents (1 new" in visor("ingest", str(folder)).out
    (folder / NFD).unlink()
    write_pdf(folder / NFC, [f"{FIRST}, second edition"])
    again = visor("ingest", str(folder))
    assert "1 documents (1 new, 0 unchanged, 1 retired" in again.out
    for form in (NFC, NFD):
        found = visor("search", "annual report", "--document", form)
        assert found.code == 0, found.err
        assert f"{NFC} page 1" in found.out


def test_both_forms_of_a_name_side_by_side_are_two_documents(visor: Visor, tmp_path: Path) -> None:
    for form in (NFC, NFD):
        write_pdf(tmp_path / "in" / form, [f"{FIRST}: {len(form)} letters"])
    for _ in range(2):
        assert "2 documents (" in visor("ingest", str(tmp_path / "in")).out
    shown = [line.split()[2:4] for line in visor("search", "annual report").out.splitlines() if " page " in line]
    assert len({" ".join(words) for words in shown}) == 2


def test_what_is_not_read_is_listed_with_its_reason(visor: Visor, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_pdf(folder / "good.pdf", [FIRST])
    write_pdf(folder / "~draft.pdf", ["A draft that begins with a tilde"])
    for name in ("letter.log", "~$letter.docx", "table.csv", "README"):
        (folder / name).write_text("x", encoding="utf-8")
    (folder / "nowhere.pdf").symlink_to(tmp_path / "absent.pdf")
    os.mkfifo(folder / "pipe.pdf")
    outcome = visor("ingest", str(folder), "~nobody-of-this-name/x.pdf", "~$other.docx")
    assert outcome.code == 0, outcome.err
    lines = outcome.err.splitlines()
    skipped = {line.split(": ")[1] for line in lines if line.startswith("skipped: ")}
    assert skipped == {"letter.log", "~$letter.docx", "table.csv", "README"}
    refused = {line.split(": ")[1]: line.split(": ")[2] for line in lines if line.startswith("quarantined: ")}
    assert refused == {
        "nowhere.pdf": "it is a link to nothing, or a loop of links",
        "pipe.pdf": "it is not a regular file",
        "x.pdf": "there is no such file or folder",
        "~$other.docx": "there is no such file or folder",
    }
    assert "2 documents (2 new, 0 unchanged, 0 retired, 4 quarantined, 4 skipped)" in outcome.out


def test_a_file_named_with_a_tilde_is_read_from_where_it_is(
    visor: Visor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pdf(tmp_path / "~draft.pdf", [FIRST])
    monkeypatch.chdir(tmp_path)
    outcome = visor("ingest", "~draft.pdf")
    assert outcome.code == 0, outcome.err
    assert "~draft.pdf" in visor("search", "annual report").out


def test_many_files_of_a_kind_are_counted(visor: Visor, tmp_path: Path) -> None:
    write_pdf(tmp_path / "in" / "good.pdf", [FIRST])
    for number in range(25):
        (tmp_path / "in" / f"{number}.log").write_text("x", encoding="utf-8")
    outcome = visor("ingest", str(tmp_path / "in"))
    assert sum(line.startswith("skipped: ") for line in outcome.err.splitlines()) == 21
    assert "skipped: 5 more: files of the kind .log" in outcome.err


def test_the_asset_counts_what_it_did_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "inbox" / "mine"
    write_pdf(folder / "a.pdf", [FIRST])
    (folder / "letter.log").write_text("x", encoding="utf-8")
    figures = _run(tmp_path, Choice("nano"), "documents").figures("documents", "mine")
    assert (figures["documents"], figures["quarantined"], figures.get("skipped")) == (1, 0, 1)


def test_an_index_that_lacks_a_page_is_not_called_complete(visor: Visor, tmp_path: Path) -> None:
    frames = [Image.new("L", (400, 300), 90) for _ in range(3)]
    frames[0].save(tmp_path / "whole.tif", save_all=True, append_images=frames[1:])
    (tmp_path / "cut.tif").write_bytes((tmp_path / "whole.tif").read_bytes()[:-60_000])
    outcome = visor("ingest", str(tmp_path / "cut.tif"), "--set", "documents.ocr=never")
    assert "page without content: cut.tif page 3" in outcome.err
    assert "the index is not complete: 1 pages without content, 0 vectors missing" in outcome.out
    assert "1 pages without content" in visor("index", "verify").out
