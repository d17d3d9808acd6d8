"""The peak of this process's own memory, which can be begun anew.

`ru_maxrss` will not do: a child starts with the peak of the process that started it, so growth below that is not seen.
"""

from __future__ import annotations

import re
from pathlib import Path


def begin_peak() -> None:
    """Forget the peak so far: it becomes what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mib() -> float:
    """The most that was resident since `begin_peak`, MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        raise RuntimeError("this system does not tell a process's peak memory (VmHWM in /proc/self/status)")
    return int(found[1]) / 1024
