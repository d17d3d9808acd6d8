"""One `visor run`, or one `visor ui`, as other processes know it: by its process on this machine since its start."""

from __future__ import annotations

import os
import secrets

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
