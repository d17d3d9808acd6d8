"""Names of documents: folders where file names repeat, one name for both Unicode forms, in search, prompts, reports."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import ANIMALS, DOCUMENTS, FINANCE, WORKERS, ingest
from visor_core.agent.environment import Environment
from visor_core.agent.state import display_name
from visor_core.config import AgentConfig
from visor_core.documents.names import goes_by, shown_names
from visor_core.documents.sources import expand, local_path
from visor_core.errors import SearchIndexError
from visor_core.index import Corpus, PageIndex, register_documents
from visor_core.index.upkeep import difference

NFC, NFD = (unicodedata.normalize(form, "Übersicht-é.pdf") for form in ("NFC", "NFD"))


def test_the_shortest_end_of_the_path_that_tells_documents_apart() -> None:
    paths = {"a": "x/q/r.pdf", "b": "y/q/r.pdf", "c": "z/s/r.pdf", "d": "z/s/other.pdf"}
    documents = {key: (path.rpartition("/")[2], f"file:///data/{path}") for key, path in paths.items()}
    assert shown_names(documents) == {"a": "x/q/r.pdf", "b": "y/q/r.pdf", "c": "s/r.pdf", "d": "other.pdf"}
    # One file lies above the other.
    above = {"a": ("r.pdf", "file:///data/r.pdf"), "b": ("r.pdf", "file:///data/sub/r.pdf")}
    assert shown_names(above) == {"a": "data/r.pdf", "b": "sub/r.pdf"}
    # Addresses that differ in their query alone.
    remote = {key: ("r.pdf", f"https://host/r.pdf?{key}") for key in ("1" * 32, "2" * 32)}
    assert shown_names(remote) == {"1" * 32: "r.pdf (11111111)", "2" * 32: "r.pdf (22222222)"}
    hosts = {key: ("r.pdf", f"https://{key}/r.pdf") for key in ("one", "two")}
    assert shown_names(hosts) == {"one": "one/r.pdf", "two": "two/r.pdf"}


def test_a_name_may_be_given_with_its_folders_and_in_either_form() -> None:
    uri = f"file:///data/2023/{NFD}"
    assert all(goes_by(name, NFC, uri) for name in (NFC, NFD, f"2023/{NFD}", f"data/2023/{NFC}"))
    assert not any(goes_by(name, NFC, uri) for name in ("", f"2022/{NFC}", f"3/{NFC}", "é.pdf"))


def test_prompts_and_hits_tell_two_files_of_one_name_apart(tmp_path: Path) -> None:
    for folder, pages in (("one", ANIMALS), ("two", FINANCE)):
        write_pdf(tmp_path / "in" / folder / "report.pdf", pages)
    ingest(tmp_path / "corpus", [tmp_path / "in"])
    index = PageIndex.open(tmp_path / "corpus")
    environment = Environment(index, AgentConfig())
    whales, revenue = (index.search(query, k=1)[0] for query in ("whales sing", "revenue euros 2023"))
    assert [environment.facts(hit.page_id).name for hit in (whales, revenue)] == ["one/report.pdf", "two/report.pdf"]
    assert [hit.filename for hit in (whales, revenue)] == ["one/report.pdf", "two/report.pdf"]
    found = index.search("report whales revenue", document="two/report.pdf")
    assert {hit.document_id for hit in found} == {revenue.document_id}
    assert [d.filename for d in index.documents()] == ["report.pdf", "report.pdf"]
    with pytest.raises(SearchIndexError, match="no document 'three/report"):
        index.search("whales", document="three/report.pdf")


def test_a_difference_of_tags_names_the_folder(tmp_path: Path) -> None:
    write_pdf(tmp_path / "in" / "one" / "report.pdf", ANIMALS)
    _, _, before = ingest(tmp_path / "corpus", [tmp_path / "in"])
    write_pdf(tmp_path / "in" / "two" / "report.pdf", FINANCE)
    _, _, after = ingest(tmp_path / "corpus", [tmp_path / "in"])
    assert difference(Corpus(tmp_path / "corpus"), before.index_tag, after.index_tag).documents_added == (
        "two/report.pdf",
    )


def test_long_names_stay_two_names_in_a_prompt() -> None:
    one, two = (f"folder/{'a' * 90}{letter}{'b' * 60}.pdf" for letter in "xy")
    assert display_name(one) != display_name(two)
    assert all(len(display_name(name)) == 120 for name in (one, two))
    assert display_name("folder/short.pdf") == "folder/short.pdf"


def test_the_same_bytes_under_the_other_form_stay_one_document(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "corpus")
    path = write_pdf(tmp_path / "in" / NFD, ANIMALS)
    register_documents(corpus, [tmp_path / "in"], DOCUMENTS, pool=WORKERS)
    path.rename(path.with_name(NFC))
    again = register_documents(corpus, [tmp_path / "in"], DOCUMENTS, prune=True, pool=WORKERS)
    assert (again.documents, again.unchanged, again.retired, again.duplicates) == (1, 1, 0, 0)
    (row,) = corpus.table("documents").search().limit(None).to_list()
    assert (row["filename"], row["other_uris"], local_path(row["source_uri"]).name) == (NFC, [], NFC)


def test_names_that_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("~draft.pdf", "home/a.pdf", "~/b.pdf"):
        write_pdf(tmp_path / name, ["x"])
    assert local_path("~/a.pdf") == tmp_path / "home" / "a.pdf"
    assert local_path("~draft.pdf") == Path("~draft.pdf")
    assert local_path("~nobody-of-this-name/a.pdf") == Path("~nobody-of-this-name/a.pdf")
    found = expand(["~draft.pdf", "~$lock.docx", "~nobody-of-this-name"])
    assert [source.filename for source in found.found] == ["~draft.pdf"]
    assert {r.filename: r.reason for r in found.refused} == {
        "~$lock.docx": "there is no such file or folder",
        "~nobody-of-this-name": "there is no such file or folder",
    }


def test_a_folder_names_what_it_does_not_give(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_pdf(folder / "a.pdf", ["x"])
    for name in ("b.csv", os.fsdecode(b"caf\xe9.txt"), "c\n\x1b[31m.log", "none", "x" * 250 + ".txt"):
        (folder / name).write_text("x")
    (folder / "gone.pdf").symlink_to(tmp_path / "absent")
    (folder / "round.pdf").symlink_to(folder / "round.pdf")
    (folder / "again").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    found = expand([folder])
    assert [source.filename for source in found.found] == ["a.pdf"]
    assert {r.filename for r in found.refused} == {"gone.pdf", "round.pdf"}
    assert sorted(r.reason.partition(" are not read")[0] for r in found.skipped) == [
        "files of the kind .csv",
        "files of the kind .log",
        "files of the kind .txt",
        "files of the kind .txt",
        "files without a suffix",
        "it is not a regular file",
        "the folder is read by another path already",
    ]
    assert all(r.filename.isprintable() for r in found.skipped)
