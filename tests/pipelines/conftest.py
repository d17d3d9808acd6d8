"""Running the command line inside the test process, against a VISOR_HOME of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and its output."""

    code: int
    out: str
    err: str


Visor = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands switch telemetry off by the environment; other tests get theirs back."""
    for name in ("VISOR_HOME", "VISOR_PROFILE", "VISOR_SET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def visor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Visor:
    """`visor("search", "words")` → exit code, stdout, stderr; VISOR_HOME is `tmp_path/home` unless `home=` is given."""

    def run(*arguments: str, home: Path | None = None) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["visor", "--home", str(home or tmp_path / "home"), *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
