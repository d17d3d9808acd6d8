"""A killed ingest is continued by the next one as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.killing import faults_after_kills, ingest, kill_and_continue
from visor_core.index import Corpus, PageIndex
from visor_core.index import build as build_module
from visor_core.index.upkeep import verify


@pytest.mark.slow
def test_killed_ingests_end_as_undisturbed_ones(tmp_path: Path) -> None:
    for number in range(4):
        write_pdf(tmp_path / "files" / f"{number}.pdf", [f"page {page} of document {number}" for page in range(6)])
    assert faults_after_kills(tmp_path, tmp_path / "files", kills=3, seed=1) == []


@pytest.mark.slow
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow_walk)])
def test_an_ingest_killed_at_any_commit_ends_as_an_undisturbed_one(every: int, tmp_path: Path) -> None:
    for name in ("a", "gone"):
        write_pdf(tmp_path / "files" / f"{name}.pdf", [f"{name} {page}" for page in range(2)])
    write_pdf(tmp_path / "new" / "a.pdf", ["a changed"])
    write_pdf(tmp_path / "new" / "b.pdf", ["b 0", "b 1"])
    command = [sys.executable, "-m", "tests.visor_core.index.killing_commits", str(tmp_path), str(every)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == []
    # Every table and every step was there to be interrupted.
    assert found["first"].count("LanceDBConnection.create_table") == 5
    steps = {"add", "delete", "add_columns", "drop_columns", "create_index", "execute", "create", "replace"}
    assert steps <= {name.partition(".")[2] for name in found["second"]}


def test_a_build_that_dies_before_its_tag_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "files"
    write_pdf(files / "a.pdf", ["zebras"])
    ingest(tmp_path / "corpus", files)
    before = PageIndex.open(tmp_path / "corpus").manifest
    write_pdf(files / "b.pdf", ["whales"])

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    # All tables are committed by now; only the manifest is not.
    monkeypatch.setattr(build_module, "publish", die)
    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path / "corpus", files)
    index = PageIndex.open(tmp_path / "corpus")
    assert index.manifest == before
    assert [d.filename for d in index.documents()] == ["a.pdf"]
    assert index.search("whales") == []
    assert verify(index.corpus) == []
    monkeypatch.undo()
    kill_and_continue(tmp_path / "corpus", files, 0.1)
    assert PageIndex.open(tmp_path / "corpus").search("whales")[0].filename == "b.pdf"
    assert verify(Corpus(tmp_path / "corpus"), deep=True) == []
