"""The test split: who may write it, that every reading is logged, and that nothing else leads there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets_defs.machinery.graph import plan
from assets_defs.machinery.stage import CORPUS_SPLITS
from pipelines.resources import PROFILES
from visor_core.config import NanoConfig, load_profile
from visor_core.errors import ConfigError
from visor_core.index.corpus_settings import split_of
from visor_core.nano.held_out import FinalStudy, readings, write_test_world
from visor_core.nano.study_variants import variant_profile
from visor_core.nano.world import RANGE, write_world

ROOT = Path(__file__).parents[3]
SMALL = NanoConfig(train_corpora=2, development_corpora=2, test_corpora=1, primer_corpora=1, companies=3, topics=3)
# What leads to the documents of the test split, and the modules that may name it.
DOORS = {
    "held_out": {"visor_core/nano/held_out.py", "visor_core/nano/study.py"},
    "FinalStudy": {"visor_core/nano/held_out.py", "visor_core/nano/study.py"},
    "write_test_world": {"visor_core/nano/held_out.py", "visor_core/nano/study.py"},
    "write_corpora": {"visor_core/nano/held_out.py", "visor_core/nano/world.py"},
}


def test_every_reading_is_logged_with_its_study(tmp_path: Path) -> None:
    study = FinalStudy(tmp_path / "log", "abc1234")
    world = write_test_world(study, tmp_path / "test", SMALL, 3, "a look")
    assert {p.partition for p in world.pages} == {"test-00"}
    write_test_world(study, tmp_path / "test", SMALL, 4, "another")
    found = [(r["purpose"], r["seed"], r["commit"]) for r in readings(tmp_path / "log")]
    assert found == [("a look", 3, "abc1234"), ("another", 4, "abc1234")]


def test_without_the_final_study_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="study --final"):
        write_test_world("final", tmp_path / "test", SMALL, 3, "a look")  # type: ignore[arg-type]
    assert not (tmp_path / "test").exists()


def test_a_world_is_asked_for_test_in_vain_whatever_holds_the_name(tmp_path: Path) -> None:
    wanted = "".join(["te", "st"])
    with pytest.raises(ConfigError, match="study --final"):
        write_world(tmp_path, wanted, SMALL, seed=0)
    assert not list(tmp_path.rglob("*.pdf"))


@given(st.text().filter(lambda name: name not in ("train", "development", "primer")))
def test_no_other_name_is_a_split(name: str) -> None:
    with pytest.raises(ConfigError, match="split"):
        write_world(Path("nowhere"), name, SMALL, seed=0)


def test_no_number_of_corpora_reaches_another_range(tmp_path: Path) -> None:
    """The ranges lie side by side: more training corpora than one holds would be those of development, then of test."""
    for split, setting in (("train", "train_corpora"), ("development", "development_corpora")):
        with pytest.raises(ConfigError, match=f"at most {RANGE} {split} corpora"):
            write_world(tmp_path, split, SMALL.model_copy(update={setting: RANGE + 1}), seed=0)
    assert not list(tmp_path.rglob("*.pdf"))


def test_the_test_split_shares_no_document_with_the_others(tmp_path: Path) -> None:
    def bytes_of(files: tuple[Path, ...]) -> set[bytes]:
        return {path.read_bytes() for path in files}

    test = write_test_world(FinalStudy(tmp_path, "c"), tmp_path / "test", SMALL, 0, "a look")
    for split in ("train", "development", "primer"):
        assert not bytes_of(test.files) & bytes_of(write_world(tmp_path / split, split, SMALL, seed=0).files)


def test_no_stage_of_a_variant_is_given_the_test_split() -> None:
    """What reads it is the measuring alone: it needs the corpora of any other profile, and those hold two splits."""
    profile = variant_profile(load_profile(PROFILES / "nano.yaml"), "study-final", 3)
    nodes = plan(profile, ["study_figures"])
    assert {node.partition for node in nodes} - {""} == set(profile.corpora.names)
    assert {split_of(profile, name) for name in profile.corpora.names} == set(CORPUS_SPLITS)


def test_assets_know_two_splits_whatever_a_profile_calls_its_corpora() -> None:
    """A corpus gets its split from its place in the profile; a name says nothing."""

    profile = load_profile(PROFILES / "nano.yaml", {"corpora.development": "nano-test"})
    assert profile.corpora.names == ("nano-train", "nano-test")
    assert CORPUS_SPLITS == ("train", "development")


def _openers(root: Path, door: str) -> set[str]:
    """Modules that name a door: imported, called, or spelled in a text that is no prose."""
    found = set()
    for path in (p for package in ("visor_core", "assets_defs", "pipelines") for p in (root / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        if any(id(node) not in prose and door in _names(node) for node in ast.walk(tree)):
            found.add(path.relative_to(root).as_posix())
    return found


def _names(node: ast.AST) -> set[str]:
    match node:
        case ast.Import():
            return {part for alias in node.names for part in alias.name.split(".")}
        case ast.ImportFrom():
            return {*str(node.module).split("."), *(alias.name for alias in node.names)}
        case ast.Name():
            return {node.id}
        case ast.Attribute():
            return {node.attr}
        case ast.FunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Constant(value=str()):
            return set(str(node.value).split("."))
    return set()


@pytest.mark.parametrize("door", list(DOORS))
def test_only_the_study_goes_through_the_door(door: str) -> None:
    assert _openers(ROOT, door) <= DOORS[door]
    assert _openers(ROOT, door)


def test_nothing_reaches_into_the_world_for_what_it_keeps_to_itself() -> None:
    for path in (p for package in ("visor_core", "assets_defs", "pipelines") for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("visor_core.nano"):
                assert not [a.name for a in node.names if a.name.startswith("_")], path


@pytest.mark.parametrize(
    "line",
    [
        "from visor_core.nano.held_out import write_test_world as w",
        "import visor_core.nano.held_out as h",
        "from visor_core.nano import held_out",
        "importlib.import_module('visor_core.nano.held_out')",
        "held_out.readings(folder)",
    ],
)
def test_the_check_of_the_door_can_fail(line: str, tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "peeking.py").write_text(f"def peek():\n    {line}\n", encoding="utf-8")
    assert _openers(tmp_path, "held_out") == {"pipelines/peeking.py"}
