"""What `visor reproduce` says before it starts: the machine, the sources, the code; and why it cannot start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.recorded_sources import find_sources, place_sources
from pipelines.reproducing import Plan, plan
from tests.visor_core.lineage.written import DOCUMENT, write_build
from visor_core.config import Home
from visor_core.documents.sources import document_id_of, stored_path
from visor_core.errors import ConfigError, DataError
from visor_core.index import Corpus
from visor_core.lineage import Build, ancestry, read_builds
from visor_core.lineage.machine import machine
from visor_core.lineage.provenance import provenance


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def _trained(home: Home, **of_machine: Any) -> Build:
    """A checkpoint of now, trained on a machine like this one but for what is given."""
    now = {**provenance(), "machine": {**machine(), **of_machine}, "code_versions": {}}
    return write_build(home, "sft_checkpoint", "f1", "w1", in_effect={"threads": 1}, weights="9" * 64, **now)


def _plan(home: Home, build: Build, new: Path) -> Plan:
    return plan(home, build, read_builds(home), Home(new))


def test_on_the_same_kind_of_machine_everything_has_to_be_identical(home: Home, tmp_path: Path) -> None:
    planned = _plan(home, _trained(home, processor="another name"), tmp_path / "new")
    assert planned.exact
    assert "the same kind of machine: data versions and weights have to be identical" in planned.text


def test_on_another_kind_it_says_so_and_rebuilds_what_measured_it(home: Home, tmp_path: Path) -> None:
    trained = _trained(home, vendor="AnotherVendor")
    with pytest.raises(DataError, match=r"no evaluation of it is recorded to compare by.*`visor eval`"):
        _plan(home, trained, tmp_path / "new")
    write_build(home, "benchmark_results", "b1", "b", (trained,), **provenance(), code_versions={})
    planned = _plan(home, trained, tmp_path / "new")
    assert planned.lineage.target.stage == "benchmark_results"
    assert not planned.exact
    assert any("vendor: AnotherVendor there" in line for line in planned.text)
    assert any("trained weights will differ by rounding" in line for line in planned.text)
    assert not (tmp_path / "new").exists()


def test_a_champion_that_reigns_from_before_is_the_checkpoint_it_names(home: Home, tmp_path: Path) -> None:
    reigning = _trained(home)
    later = write_build(home, "sft_checkpoint", "f2", "w2", **provenance(), code_versions={})
    kept = {**provenance(), "code_versions": {}, "path": reigning.stored["path"]}
    champion = write_build(home, "champion_model", "c1", "w1", (later,), **kept)
    assert _plan(home, champion, tmp_path / "new").lineage.target == reigning
    own = write_build(home, "champion_model", "c2", "w1", (reigning,), **kept)
    assert _plan(home, own, tmp_path / "new").lineage.target == own


def test_what_a_server_answered_is_asked_again_not_rebuilt(home: Home, tmp_path: Path) -> None:
    call = {"engine": "transformers", "questions": "", "checkpoint": ""}
    build = write_build(home, "evaluation", "e1", "r", from_outside={"server": "gpt"}, call=call, **provenance())
    with pytest.raises(DataError, match="was answered by the server of gpt"):
        _plan(home, build, tmp_path / "new")


def test_a_new_home_that_holds_something_is_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        _plan(home, _trained(home), tmp_path)


def test_documents_are_found_by_their_hash_wherever_they_lie(home: Home, tmp_path: Path) -> None:
    original = tmp_path / "report.pdf"
    original.write_bytes(b"the bytes")
    document_id = document_id_of(original)
    row = {**DOCUMENT, "document_id": document_id, "filename": "report.pdf", "source_uri": original.as_uri()}
    settings = {"documents": {"dpi": 96}}
    build = write_build(home, "documents[mine]", "d1", "docs", documents=[row], settings=settings)
    found = find_sources(home, ancestry(home, build))
    assert (found.count, found.missing) == (1, [])
    assert found.corpora[0].settings == settings
    new = Home(tmp_path / "new")
    place_sources(found, new)
    assert (new.inbox("mine") / document_id[:12] / "report.pdf").read_bytes() == b"the bytes"
    original.write_bytes(b"other bytes")
    assert len(find_sources(home, ancestry(home, build)).missing) == 1
    kept = stored_path(Corpus(home.corpus("mine")).sources, document_id)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"the bytes")
    assert find_sources(home, ancestry(home, build)).missing == []
