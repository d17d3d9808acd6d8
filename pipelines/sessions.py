"""Processes of this machine: a `visor run` or `visor ui` as others know it, by its pid since its start; ends of all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

import psutil

CLOCK_SLACK = 2.0
"""Seconds by which two readings of a process's start, or of an event's time, may differ."""


def new_session() -> str:
    """A session of this process: its pid, its start (seconds since the epoch) and chance."""
    return f"{os.getpid()}-{psutil.Process().create_time():.2f}-{secrets.token_hex(4)}"


def session_lives(session: str) -> bool:
    """Whether the process of a session is still that process; False of what is no session."""
    try:
        pid, started, _ = session.split("-")
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(started)) <= CLOCK_SLACK
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (ValueError, psutil.NoSuchProcess):
        return False


def kill_tree(pid: int) -> None:
    """Kill a process with all that it started."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):  # it has ended by itself
                member.kill()
