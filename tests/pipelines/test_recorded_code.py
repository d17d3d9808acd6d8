"""Code and packages of a build: the present ones where they are the same, else a worktree, else a plain refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assets_defs.machinery.graph import stages
from pipelines.recorded_code import ROOT, choose_code, constraints_of, forget_worktree, prepare, relevant
from tests.visor_core.lineage.written import write_build
from visor_core.config import Home
from visor_core.errors import ConfigError, DataError
from visor_core.lineage import Build
from visor_core.lineage.provenance import commit_of, git, installed_packages, provenance


def _build(tmp_path: Path, **changes: Any) -> Build:
    """A build of now."""
    versions = {"questions": stages()["questions"].version}
    given = {**provenance(), "code": commit_of(ROOT), "code_versions": versions, **changes}
    return write_build(Home(tmp_path / "home"), "questions[mine]", "a1", "data", **given)


def test_code_and_packages_of_now_are_used_where_they_are_the_same(tmp_path: Path) -> None:
    """Also where something was changed that no stage of it runs, and a package beside the project's own came in."""
    packages = {**installed_packages(), "ipython": "9.0"}
    chosen = choose_code(_build(tmp_path, code={"commit": "0" * 40, "dirty": True}, packages=packages))
    assert (chosen.commit, chosen.constraints) == ("", ())
    runner = prepare(chosen, tmp_path / "place")
    assert runner.root == ROOT
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"code": {"commit": "0" * 40, "dirty": True}}, DataError, "not committed, and the code of questions"),
        ({"code": {"commit": "", "dirty": False}}, DataError, "was made by no commit"),
        ({"code": {"commit": "0" * 40, "dirty": False}}, DataError, "git fetch --all"),
    ],
)
def test_code_that_cannot_be_had_is_one_line(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        choose_code(_build(tmp_path, code_versions={"questions": "another"}, **changes))


def test_a_python_that_is_not_here_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Python 3\.99, which is not here"):
        choose_code(_build(tmp_path, python="3.99.1"))


def test_other_packages_get_an_environment_by_the_recorded_versions(tmp_path: Path) -> None:
    packages = {**installed_packages(), "torch": "2.0.0+cpu"}
    chosen = choose_code(_build(tmp_path, packages=packages))
    assert chosen.commit == ""
    assert "torch==2.0.0" in chosen.constraints
    assert "torch: 2.0.0+cpu → " in chosen.notes[-1]
    assert set(relevant(packages)) <= set(packages)
    assert constraints_of({"a": "1"}) == ("a==1",)


@pytest.mark.skipif(not commit_of(ROOT)["commit"], reason="the code lies in no repository")
def test_a_commit_is_checked_out_beside_and_taken_away_again(tmp_path: Path) -> None:
    commit = git(ROOT, "rev-parse", "HEAD")
    changed = {"code_versions": {"questions": "another"}, "code": {"commit": commit, "dirty": False}}
    chosen = choose_code(_build(tmp_path, **changed))
    assert chosen.commit == commit
    place = tmp_path / "place"
    for _ in range(2):  # a second call uses what is there
        runner = prepare(chosen, place)
    assert runner.root == place / "code"
    assert commit_of(runner.root) == {"commit": commit, "dirty": False}
    assert (runner.root / "pipelines" / "cli").is_dir()
    forget_worktree(place)
    assert not runner.root.exists()
    assert str(place) not in git(ROOT, "worktree", "list")
