"""Processes of this machine: a `visor run` or `visor ui` as others know it, by its pid since its start; ends of all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

import psutil

from visor_core.processes import is_process, process_mark


def new_session() -> str:
    """A session of this process: its pid, its mark (`process_mark`) and chance."""
    return f"{os.getpid()}-{process_mark(os.getpid())}-{secrets.token_hex(4)}"


def session_lives(session: str) -> bool:
    """Whether the process of a session is still that process; False of what is no session."""
    try:
        pid, mark, _ = session.split("-")
        return is_process(int(pid), mark)
    except ValueError:
        return False


def kill_tree(pid: int) -> None:
    """Kill a process with all that it started."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):  # it has ended by itself
                member.kill()
