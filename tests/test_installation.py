"""The Makefile's installer, and the commands that remedies print: they name this project and what it really has."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.preflight import EXTRAS
from visor_core.installation import DISTRIBUTION, install_command

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def download() -> ModuleType:
    spec = importlib.util.spec_from_file_location("download", ROOT / "infra" / "download.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Downloading torch-2.13.0-cp311-manylinux_2_28_x86_64.whl (180.5 MB)", (180.5e6, True)),
        ("  Using cached idna-3.10-py3-none-any.whl (70 kB)", (70e3, False)),
        ("Requirement already satisfied: idna", (0.0, False)),
        ("  Downloading idna-3.10-py3-none-any.whl.metadata (10 kB)", (10e3, True)),
        ("Processing ./missing.whl", (0.0, False)),
    ],
)
def test_sizes_are_read_from_pip(download: ModuleType, line: str, expected: tuple[float, bool]) -> None:
    assert download.size_of(line) == expected


def test_a_local_wheel_counts_with_its_size(download: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "x-1-py3-none-any.whl"
    wheel.write_bytes(b"x" * 1234)
    assert download.size_of(f"Processing {wheel}") == (1234.0, False)


def test_an_older_python_is_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "python3.9"
    other.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    other.chmod(0o755)
    command = ["make", "-C", str(ROOT), f"VENV={tmp_path}/venv", f"PYTHON={other}", f"{tmp_path}/venv/bin/python"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert f"{other} is older than Python 3.11" in run.stderr


def test_help_lists_the_commands() -> None:
    run = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True)
    assert all(f"make {name}" in run.stdout for name in ("run", "test", "test-slow", "extra", "ui", "bench"))


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_distribution_is_not_somebody_elses() -> None:
    """`visor` on the public index is another program; the command and the packages keep their names."""
    assert PROJECT["name"] == DISTRIBUTION != "visor"
    assert PROJECT["scripts"] == {"visor": "pipelines.cli:main"}


def test_no_remedy_names_another_distribution() -> None:
    """Whoever follows a remedy gets this project: none is written by hand, in code, configuration or prose."""
    stale = re.compile(r"visor\[|pip install (?!-)['\"]?visor\b|pip install sentence")
    folders = ("visor_core", "assets_defs", "pipelines", "infra", "docs")
    files = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".yaml")
    ]
    files += [*ROOT.glob("*.md"), ROOT / "Makefile"]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        if path.name not in ("CHANGELOG.md", "rivals.py")  # history; an array indexed by the strategy's name
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if stale.search(line)
    ]
    assert found == []


def _extras_of_remedies() -> set[str]:
    """The extras that the code asks `install_command` for, by name."""
    calls = [
        node
        for folder in ("visor_core", "assets_defs", "pipelines")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "install_command"
    ]
    named = {argument.value for call in calls for argument in call.args if isinstance(argument, ast.Constant)}
    return {str(name) for name in named} | set(EXTRAS.values())


def test_every_remedy_is_a_command_that_pip_takes(tmp_path: Path) -> None:
    extras = sorted(_extras_of_remedies())
    assert set(extras) >= {"ocr", "vllm", "colpali", "sentence", "qwen", "remote", "heic"}
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    checkout = tmp_path / "it's 50% #"
    for name in ("visor_core", "assets_defs", "pipelines"):
        (checkout / name).mkdir(parents=True)
        (checkout / name / "__init__.py").touch()
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, checkout / name)
    command = install_command(*extras, root=checkout, folder=tmp_path)
    only_parsed = "--dry-run --no-deps --no-index --no-build-isolation --disable-pip-version-check"
    run = subprocess.run(["sh", "-c", f"{command} {only_parsed}"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert f"Would install {DISTRIBUTION}-{PROJECT['version']}" in run.stdout
    assert "does not provide the extra" not in run.stderr


def test_remedies_fit_where_the_code_lies(tmp_path: Path) -> None:
    here = shlex.split(install_command("ocr", root=ROOT, folder=ROOT))
    assert here[1:] == ["-m", "pip", "install", "-c", "constraints.txt", "-e", ".[ocr]"]
    assert "constraints.txt" not in install_command("colpali", root=ROOT), "colpali-engine wants another peft"
    assert install_command("ocr", root=ROOT, folder=tmp_path).startswith(f"cd {shlex.quote(str(ROOT))} && ")
    installed = shlex.split(install_command("ocr", root=tmp_path))
    assert installed == [sys.executable, "-m", "pip", "install", f"{DISTRIBUTION}[ocr]"]
