"""Fingerprints, records and folders of stages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from assets_defs.stage import (
    Node,
    Record,
    Stage,
    find_record,
    folder_version,
    read_record,
    upstream_versions,
    withdraw,
    write_record,
)
from visor_core.config import Home, Profile, SFTConfig
from visor_core.errors import ConfigError, DataError

STAGE = Stage(
    name="sample",
    code=("visor_core.questions",),
    settings=lambda profile, partition: {"sft": profile.sft},
    inputs=lambda profile, partition: (Node("before"),),
)
PROFILE = Profile(name="test")
RECORD = Record("before", "", "f" * 16, "c" * 12, "d" * 16, "assets/before", {}, 0, "", 1.5, {"rows": 3})


def test_everything_that_decides_the_output_is_in_the_fingerprint() -> None:
    usual = STAGE.fingerprint(PROFILE, "", {"before": "1"})
    assert usual == STAGE.fingerprint(PROFILE, "", {"before": "1"})
    others = [
        STAGE.fingerprint(PROFILE, "other", {"before": "1"}),
        STAGE.fingerprint(PROFILE, "", {"before": "2"}),
        STAGE.fingerprint(PROFILE.model_copy(update={"seed": 1}), "", {"before": "1"}),
        STAGE.fingerprint(PROFILE.model_copy(update={"sft": SFTConfig(steps=7)}), "", {"before": "1"}),
        replace(STAGE, code=("visor_core.geometry",)).fingerprint(PROFILE, "", {"before": "1"}),
    ]
    assert len({usual, *others}) == 6


def test_settings_of_other_stages_do_not_count() -> None:
    changed = PROFILE.model_copy(update={"grpo": PROFILE.grpo.model_copy(update={"steps": 3})})
    assert STAGE.fingerprint(PROFILE, "", {}) == STAGE.fingerprint(changed, "", {})


def test_a_record_is_found_again_until_it_is_withdrawn(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_record(home, RECORD)
    assert read_record(home, Node("before")) == RECORD
    assert upstream_versions(home, (Node("before"),)) == {"before": "d" * 16}
    withdraw(home, Node("before"))
    assert find_record(home, Node("before")) is None


def test_a_missing_upstream_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"before .*visor run --select before"):
        upstream_versions(Home(tmp_path), (Node("before"),))


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_record(home, RECORD)
    path = home.asset("before") / "current.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"current\.json is damaged"):
        find_record(home, Node("before"))


def test_partitions_of_a_stage_have_records_of_their_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_record(home, replace(RECORD, partition="a"))
    assert find_record(home, Node("before", "a")) is not None
    assert find_record(home, Node("before", "b")) is None
    assert str(Node("before", "a")) == "before[a]"


def test_a_folder_version_follows_contents_and_names(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("1", encoding="utf-8")
    (tmp_path / "log.txt").write_text("x", encoding="utf-8")
    first = folder_version(tmp_path, "*.json")
    (tmp_path / "log.txt").write_text("y", encoding="utf-8")
    assert folder_version(tmp_path, "*.json") == first
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    assert folder_version(tmp_path, "*.json") != first
    with pytest.raises(DataError, match="holds none of"):
        folder_version(tmp_path, "*.safetensors")


@pytest.mark.parametrize("corpus", ["..", "a/b", ".hidden", "a*b"])
def test_a_partition_is_a_corpus_name(corpus: str) -> None:
    """Dagster's page takes any text as a partition; what is built for it may not land outside VISOR_HOME."""
    with pytest.raises(ConfigError, match="corpus name"):
        Node("questions", corpus)
