"""Which process a pid means: pids are given out again, and the wall clock may be set while a process lives."""

from __future__ import annotations

from pathlib import Path

import psutil

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_START = 19
"""Where the start in clock ticks since the boot stands in `/proc/PID/stat`, counted after the name (proc(5))."""


def process_mark(pid: int) -> str:
    """What no other process of this machine has, before or after: the boot, and the start since then in clock ticks.

    Where the system does not tell those, the start by the wall clock. It holds letters, digits and dots only.

    Raises:
        psutil.NoSuchProcess: if there is no such process.
    """
    if not _BOOT.is_file():
        return f"{psutil.Process(pid).create_time():.2f}"
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(pid) from error
    started = stat.rpartition(")")[2].split()[_START]
    return f"{_BOOT.read_text(encoding='ascii').strip().replace('-', '')}.{started}"


def is_process(pid: int, mark: str) -> bool:
    """Whether the process with that pid is the one that had the mark, and has not ended."""
    try:
        return process_mark(pid) == mark and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
