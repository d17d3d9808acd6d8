"""Files that are there whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path, *, several_writers: bool = False) -> Iterator[Path]:
    """A file to fill, which takes the place of `path` by an atomic rename if the block ends without an error.

    It ends in `.partial`. An error leaves nothing behind; a kill leaves it, and the next writer writes over it, unless
    there may be several at once, each of which then has its own.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f".{os.getpid()}.{threading.get_ident()}" if several_writers else ""
    partial = path.with_name(f"{path.name}{writer}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=1))


def grant_by_umask(folder: Path) -> None:
    """Give the files in a folder and below at least the permissions that a new file gets there.

    safetensors writes its files readable by their owner alone, whatever the umask is.
    """
    # The umask itself can only be read by setting it, which other threads would see.
    probe = folder / f".permissions.{os.getpid()}.{threading.get_ident()}"
    descriptor = os.open(probe, os.O_CREAT | os.O_WRONLY, 0o666)
    try:
        usual = stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) | usual)


def flush(path: Path) -> None:
    """Wait until a file, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
