"""VISOR_HOME under any name a folder may have: everything a command stores lies inside it, and is found again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import polars as pl
import pytest

from pipelines.cli.session import open_index
from pipelines.instance import open_instance
from tests.pipelines.test_cli_corpus import write_pdf
from visor_core.addresses import lance_address, pasteable
from visor_core.config import DocumentsConfig, Home, IndexConfig
from visor_core.index import Corpus, build_index, load_embedders, register_documents, render_pages, upkeep
from visor_core.index.tags import list_tags
from visor_core.questions import Question, read_questions, write_questions
from visor_core.tracking import Tracker

# Inside MLflow 3.17 and alembic 1.20; LanceDB and Dagster's SQLite storage leave sockets to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
NAMES = ("Bücher 書", "a#b", "a?b", "a%20b", "a%2Fb", 'it\'s "so"', "[x] {y,z} *", "50% ?#é")


@pytest.fixture
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Home:
    """A home of that name, with a neighbour that a pattern or an encoded name would reach."""
    (tmp_path / "neighbour").mkdir()
    return Home(tmp_path / request.param)


def _strays(home: Home) -> list[str]:
    """What lies beside the home that no test made."""
    return sorted(p.name for p in home.root.parent.iterdir() if p not in (home.root, home.root.parent / "neighbour"))


@pytest.mark.parametrize("home", NAMES, indirect=True)
def test_a_corpus_lives_inside_its_home(home: Home) -> None:
    document = write_pdf(home.root.parent / "neighbour" / "quay.pdf", ("forty-seven people work at the quay", "Plan"))
    corpus = Corpus(home.corpus("documents"))
    settings = DocumentsConfig(ocr="never", workers=1)
    register_documents(corpus, [document], settings)
    render_pages(corpus, settings)
    config = IndexConfig(embedders=("hash",))
    built = build_index(corpus, config, load_embedders(config), documents=settings)
    assert _strays(home) == []
    pinned = list(home.root.rglob("_refs/tags/*.json"))
    assert {p.parents[2].name for p in pinned} >= {"documents.lance", "pages.lance", "images.lance", "passages.lance"}
    assert {p.parents[3] for p in pinned} == {corpus.root / "lancedb"}
    upkeep.compact(corpus, keep=10)
    index = open_index(home, "documents", "latest")
    for mode in ("text", "vector", "hybrid"):
        assert index.search("people at the quay", k=1, mode=mode)[0].page == 1
    assert sorted(list_tags(corpus)) == sorted([built.index_tag, "latest"])
    assert upkeep.verify(corpus, "latest", deep=True) == []
    assert _strays(home) == []


@pytest.mark.parametrize("home", ["a?b", "it's 5%20 é%2F#"], indirect=True)
def test_runs_live_inside_their_home(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "neighbour")
    with open_instance(home) as instance:
        instance.add_dynamic_partitions("corpus", ["mine"])
    with open_instance(home) as instance:
        assert instance.get_dynamic_partitions("corpus") == ["mine"]
    with sqlite3.connect(home.dagster / "history" / "runs" / "index.db") as database:
        assert database.execute("SELECT partition FROM dynamic_partitions").fetchall() == [("mine",)]
    database.close()
    tracker = Tracker(home, "tests")
    run = tracker.open_run("sft")
    noted = tmp_path / "neighbour" / "note.txt"
    noted.write_text("x", encoding="utf-8")
    tracker.artifacts(run, [noted])
    tracker.close_run(run)
    assert Tracker(home, "tests").client.get_run(run).info.status == "FINISHED"
    assert [p.name for p in (home.mlflow / "artifacts").rglob("*.txt")] == ["note.txt"]
    with sqlite3.connect(home.mlflow / "mlflow.db") as database:
        assert database.execute("SELECT run_uuid FROM runs").fetchall() == [(run,)]
    database.close()
    assert _strays(home) == []
    assert [p.name for p in (tmp_path / "neighbour").iterdir()] == ["note.txt"]


def test_tables_of_questions_are_read_from_the_file_named(tmp_path: Path) -> None:
    """`?` and `*` in a folder's name are letters, no pattern that reads a neighbour's file too."""
    for name, count in (("a?b", 1), ("axb", 2), ("[x]", 3)):
        asked = [Question(f"q{number}", "How many?", ("7",), benchmark="test") for number in range(count)]
        write_questions(tmp_path / name / "questions.parquet", asked)
    for name, count in (("a?b", 1), ("axb", 2), ("[x]", 3)):
        assert len(read_questions(tmp_path / name / "questions.parquet")) == count
    assert pl.read_parquet(tmp_path / "axb" / "questions.parquet").height == 2


@pytest.mark.parametrize("name", NAMES)
def test_addresses_mean_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    link = pasteable(folder)
    assert link.resolve() == folder
    assert not set("%?#") & set(str(link))
    assert lance_address(tmp_path) == str(tmp_path)
