"""How the suite shares a machine: one thread a process, and modules with slow tests first.

`make test` runs as many processes as cores and memory allow (`-n auto --dist loadfile`), each a module at a time, so
that what a module's tests share is made once. A plain `pytest` runs everything in one process, in the same order.
"""

from __future__ import annotations

import os
import signal

import psutil
import pytest

MEMORY_OF_A_PROCESS = 3 * 2**30
"""Bytes, the subprocesses of a test included."""
MOST_PROCESSES = 6
"""More would wait for the longest module, which is a sixth of the whole."""

# For torch, here and in what tests start: tiny models gain nothing from a second thread, and threads of several
# processes on one core wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What tests start is asked to end by these two; a shell that runs the suite in the background, and nohup, have them
# ignored, which every child process would inherit.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)
# A console keeps the width it finds here when it is made. readline, which pytest imports, leaves its guess to child
# processes; tests set their own.
for _size in ("COLUMNS", "LINES"):
    os.environ.pop(_size, None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Processes of `-n auto`; 0, which is none beside this one, on a machine with a single core."""
    room = psutil.virtual_memory().available // MEMORY_OF_A_PROCESS
    processes = min(len(os.sched_getaffinity(0)), room, MOST_PROCESSES)
    return processes if processes > 1 else 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Modules with slow tests come first, so that no process is left with a long one at the end. The long walks are
    left out, whatever else is asked for, unless they are asked for by name (`make test-slow`)."""
    if "slow_walk" not in config.option.markexpr:
        walks = [item for item in items if item.get_closest_marker("slow_walk")]
        config.hook.pytest_deselected(items=walks)
        items[:] = [item for item in items if item not in walks]
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("vllm")}
    items.sort(key=lambda item: item.path not in slow)
