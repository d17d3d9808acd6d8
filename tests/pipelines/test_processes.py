"""Training workers as several processes on the processor: they meet, and none outlives another or the launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import runs

ROOT = Path(__file__).parents[2]


def start(order: Path) -> subprocess.Popen[bytes]:
    """The launcher; its errors go to `log` beside the order."""
    command = [sys.executable, "-m", "pipelines.workers.processes", "2", "tests.pipelines.meeting", str(order)]
    with order.with_name("log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=log)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


@pytest.mark.slow
def test_the_processes_meet(tmp_path: Path) -> None:
    process = start(tmp_path / "order.json")
    assert process.wait(120) == 0, (tmp_path / "log").read_text(encoding="utf-8")
    found = [(tmp_path / f"rank-{rank}").read_text(encoding="utf-8") for rank in range(2)]
    assert found == ["DistributedType.MULTI_CPU 2 3.0"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("order", "last"), [("fail", "ValueError: this one fails"), ("die", "process 1 was ended by SIGKILL")]
)
def test_one_that_fails_ends_the_others_and_the_log_ends_with_the_cause(order: str, last: str, tmp_path: Path) -> None:
    process = start(tmp_path / order)
    assert process.wait(120) == 1
    assert (tmp_path / "log").read_text(encoding="utf-8").rstrip().splitlines()[-1] == last


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_all_end_with_the_launcher(how: signal.Signals, tmp_path: Path) -> None:
    process = start(tmp_path / "wait")
    pids = [tmp_path / f"pid-{rank}" for rank in range(2)]
    assert until(lambda: all(pid.is_file() and pid.read_text(encoding="utf-8") for pid in pids), 120)
    process.send_signal(how)
    process.wait(60)
    assert until(lambda: not any(runs(int(pid.read_text(encoding="utf-8"))) for pid in pids), 10)
