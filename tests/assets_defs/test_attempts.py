"""How long the work of a build took in all, and that a killed attempt is known."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from assets_defs.machinery.attempts import ATTEMPTS, attempt, attempts_of


def _fail() -> None:
    time.sleep(0.02)
    raise RuntimeError


def test_time_is_over_all_attempts_and_a_killed_one_is_marked(tmp_path: Path) -> None:
    assert (attempts_of(tmp_path).seconds, attempts_of(tmp_path).interrupted) == (0.0, False)
    with pytest.raises(RuntimeError), attempt(tmp_path):
        _fail()
    first = attempts_of(tmp_path)
    assert first.seconds >= 0.02
    assert not first.interrupted
    with attempt(tmp_path):
        assert attempts_of(tmp_path).interrupted  # what a kill here would leave
        time.sleep(0.02)
    assert attempts_of(tmp_path).seconds >= first.seconds + 0.02
    assert not attempts_of(tmp_path).interrupted
    path = tmp_path / ATTEMPTS
    path.write_text(path.read_text(encoding="utf-8").rpartition('{"took"')[0], encoding="utf-8")
    with attempt(tmp_path):
        pass
    assert attempts_of(tmp_path).interrupted
