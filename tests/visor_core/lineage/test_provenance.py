"""What made a build: commit and changes of a real repository, packages of this environment, the kind of a machine."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.visor_core.lineage.written import MACHINE
from visor_core.lineage.machine import kind_differences, machine
from visor_core.lineage.provenance import commit_of, installed_packages, weights_hash


def _git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", str(root), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_commit_is_dirty_where_its_code_was_changed_and_not_its_prose(tmp_path: Path) -> None:
    (tmp_path / "visor_core").mkdir()
    module = tmp_path / "visor_core" / "a.py"
    module.write_text("A = 1\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("one\n", encoding="utf-8")
    assert commit_of(tmp_path) == {"commit": "", "dirty": False}
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "one")
    clean = {"commit": _git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    assert commit_of(tmp_path) == clean
    (tmp_path / "README.md").write_text("two\n", encoding="utf-8")
    assert commit_of(tmp_path) == clean
    module.write_text("A = 2\n", encoding="utf-8")
    assert commit_of(tmp_path) == {**clean, "dirty": True}
    assert commit_of(tmp_path / "visor_core") == {"commit": "", "dirty": False}


def test_every_installed_package_is_named_with_the_version_that_is_imported() -> None:
    found = installed_packages()
    for name in ("torch", "pydantic", "typing-extensions", "pyyaml"):
        assert found[name] == importlib.metadata.version(name)
    assert len(found) > 100
    assert "visor-rag" not in found


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"processor": "another name", "cores": 64, "system": "Darwin"}, []),
        ({"vendor": "AuthenticAMD"}, ["vendor: GenuineIntel there, AuthenticAMD here"]),
        ({"extensions": ["avx", "avx2", "avx512f"]}, ["extensions: avx512f only here"]),
        ({"gpus": ["NVIDIA H200"]}, ["gpus: none there, NVIDIA H200 here"]),
    ],
)
def test_machines_are_of_one_kind_if_they_round_alike(changes: dict[str, object], lines: list[str]) -> None:
    assert kind_differences(MACHINE, {**MACHINE, **changes}) == lines


def test_this_machine_is_of_its_own_kind() -> None:
    assert kind_differences(machine(), machine()) == []
    assert machine()["cores"] >= 1


def test_the_weights_hash_is_of_weights_alone(tmp_path: Path) -> None:
    assert weights_hash(tmp_path) == ""
    save_file({"w": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    first = weights_hash(tmp_path)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert weights_hash(tmp_path) == first
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    assert weights_hash(tmp_path) not in (first, "")
