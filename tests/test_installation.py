"""The Makefile's installer reads sizes out of pip's output, and the Makefile refuses a wrong Python."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

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
    assert all(f"make {name}" in run.stdout for name in ("run", "test", "ui", "bench", "lint"))
