"""Fingerprints of stages, and the states of their builds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from assets_defs.machinery.builds import (
    Builds,
    Record,
    failing,
    find_record,
    is_checked,
    judge,
    put_in_force,
    read_record,
    write_build,
)
from assets_defs.machinery.stage import Need, Node, Stage, folder_version
from visor_core.config import Home, Profile, SFTConfig, derived
from visor_core.errors import ConfigError, DataError

STAGE = Stage(
    name="sample",
    begins=("visor_core.questions",),
    settings=lambda profile, partition: {"sft": profile.sft},
    needs=(
        Need("before"),
        Need("page_index", "train"),
        Need("pages", "same"),
        Need("other", when=lambda p, c: c == "x"),
    ),
)
PROFILE = Profile(name="test")
CHECKS = ("a", "b")
RECORD = Record("before", "", "f" * 16, "c" * 12, "d" * 16, "assets/before", {}, 0, "", 1.5, {"rows": 3}, checks=CHECKS)


def test_everything_that_decides_the_output_is_in_the_fingerprint() -> None:
    usual = STAGE.fingerprint(PROFILE, "", {"before": "1"})
    assert usual == STAGE.fingerprint(PROFILE, "", {"before": "1"})
    others = [
        STAGE.fingerprint(PROFILE, "other", {"before": "1"}),
        STAGE.fingerprint(PROFILE, "", {"before": "2"}),
        STAGE.fingerprint(PROFILE.model_copy(update={"seed": 1}), "", {"before": "1"}),
        STAGE.fingerprint(PROFILE.model_copy(update={"sft": SFTConfig(steps=7)}), "", {"before": "1"}),
        replace(STAGE, begins=("visor_core.geometry",)).fingerprint(PROFILE, "", {"before": "1"}),
    ]
    assert len({usual, *others}) == 6


def test_settings_of_other_stages_do_not_count() -> None:
    changed = PROFILE.model_copy(update={"grpo": PROFILE.grpo.model_copy(update={"steps": 3})})
    assert STAGE.fingerprint(PROFILE, "", {}) == STAGE.fingerprint(changed, "", {})


def test_needs_name_nodes_for_a_run_and_stages_for_dagster() -> None:
    profile = derived(PROFILE, {"corpora.train": "mine"}, "test")
    expected = (Node("before"), Node("page_index", "mine"), Node("pages", "c"))
    assert STAGE.inputs(profile, "c") == expected
    assert STAGE.inputs(profile, "x") == (*expected[:2], Node("pages", "x"), Node("other"))
    assert STAGE.deps == ("before", "page_index", "pages", "other")


def test_a_build_is_in_force_when_all_its_blocking_checks_passed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_build(home, RECORD, {})
    assert find_record(home, Node("before")) is None
    judge(home, RECORD, "a", passed=True)
    judge(home, RECORD, "soft", passed=False)
    assert failing(home, RECORD) == ("b",)
    assert find_record(home, Node("before")) is None
    judge(home, RECORD, "b", passed=True)
    assert find_record(home, Node("before")) == read_record(home, Node("before")) == RECORD
    judge(home, RECORD, "a", passed=False)
    assert find_record(home, Node("before")) is None


def test_a_failed_build_leaves_the_one_in_force_where_it_is(tmp_path: Path) -> None:
    home = Home(tmp_path)
    newer = replace(RECORD, fingerprint="e" * 16, data_version="other")
    for record, passed in ((RECORD, True), (newer, False)):
        write_build(home, record, {})
        for name in record.checks:
            judge(home, record, name, passed=passed)
    assert find_record(home, Node("before")) == RECORD


def test_checks_of_older_content_do_not_count(tmp_path: Path) -> None:
    """An incremental build keeps its fingerprint while its content changes."""
    home = Home(tmp_path)
    write_build(home, RECORD, {})
    for name in RECORD.checks:
        judge(home, RECORD, name, passed=True)
    changed = replace(RECORD, data_version="e" * 16)
    write_build(home, changed, {})
    assert not is_checked(home, changed)
    assert find_record(home, Node("before")) is None


def test_a_missing_build_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"before .*visor run --select before"):
        read_record(Home(tmp_path), Node("before"))
    with pytest.raises(DataError, match=r"nano_corpus .*visor run --profile test --select nano_corpus"):
        Builds(Home(tmp_path), PROFILE).versions([Node("nano_corpus")])


def _looked_at(home: Home) -> None:
    failing(home, replace(RECORD, checks=("a",)))
    find_record(home, Node("before"))


@pytest.mark.parametrize("content", ["{", "null", "5", '"x"', "[1]"])
@pytest.mark.parametrize("name", ["current.json", f"{'f' * 16}/lineage.json", f"{'f' * 16}/checks.json"])
def test_a_damaged_file_is_named(name: str, content: str, tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_build(home, replace(RECORD, checks=()), {})
    path = home.asset("before") / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=rf"{Path(name).name} is damaged.*: delete .* materialize before again"):
        _looked_at(home)


@pytest.mark.parametrize("pointer", ['{"fingerprint": "0123456789abcdef"}', "{", None])
def test_a_checked_build_is_put_in_force_again(pointer: str | None, tmp_path: Path) -> None:
    home = Home(tmp_path)
    record = replace(RECORD, checks=())
    write_build(home, record, {})
    path = home.asset("before") / "current.json"
    path.unlink() if pointer is None else path.write_text(pointer, encoding="utf-8")
    put_in_force(home, record)
    assert find_record(home, Node("before")) == record


def test_partitions_of_a_stage_have_builds_of_their_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_build(home, replace(RECORD, partition="a", checks=()), {})
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
