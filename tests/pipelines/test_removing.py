"""A corpus is taken away with all of it, also where only its partition is left; what would miss it keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.instance import open_instance
from tests.pipelines.conftest import Visor
from tests.pipelines.test_cli_corpus import write_pdf
from tests.visor_core.lineage.written import write_chain
from visor_core.config import Home
from visor_core.index import Corpus

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Dagster's SQLite storage


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def _partitions(home: Home, *more: str) -> list[str]:
    with open_instance(home) as instance:
        if more:
            instance.add_dynamic_partitions("corpus", list(more))
        return sorted(instance.get_dynamic_partitions("corpus"))


def test_the_partition_of_a_misspelt_corpus_goes(home: Home, visor: Visor) -> None:
    assert _partitions(home, "documents", "documnets") == ["documents", "documnets"]
    said = visor("index", "remove", "documnets")
    assert "the partition documnets on Dagster's page" in said.out
    assert "--delete does it" in said.out
    assert len(_partitions(home)) == 2
    assert visor("index", "remove", "documnets", "--delete").code == 0
    assert _partitions(home) == ["documents"]
    refused = visor("index", "remove", "documnets", "--delete")
    assert (refused.code, "no corpus 'documnets'" in refused.err, "documents" in refused.err) == (2, True, True)


def test_a_corpus_goes_with_its_index_and_its_inbox_is_asked_about(home: Home, visor: Visor, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_pdf(tmp_path / "in" / "a.pdf", ("acme staff 47",))
    assert visor("ingest", str(tmp_path / "in"), "--corpus", "mine", "--set", "documents.ocr=never").code == 0
    _partitions(home, "mine")
    home.inbox("mine").mkdir(parents=True)
    assert "would bring corpus mine back" in visor("index", "remove", "mine", "--delete").err
    home.inbox("mine").rmdir()
    with Corpus(home.corpus("mine")).writing():
        assert "a process works on" in visor("index", "remove", "mine", "--delete").err
    assert visor("index", "remove", "mine", "--delete").code == 0
    assert not home.corpus("mine").exists()
    assert _partitions(home) == []


def test_what_a_checkpoint_was_trained_on_stays(home: Home, visor: Visor) -> None:
    write_chain(home)
    refused = visor("index", "remove", "mine", "--delete")
    assert refused.code == 2
    assert "sft_checkpoint f1" in refused.err
    assert "was made from corpus mine" in refused.err
    assert home.asset("page_index", "mine").is_dir()
