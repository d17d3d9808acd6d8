"""Files that are there whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import stat
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAME_BYTES = 120
"""Most bytes of a label in a file name; file systems take 255 for the whole, some 143."""


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


def file_name(label: str, decided_by: str, suffix: str) -> str:
    """A file name for what a label and a digest name: two that differ in either never share one.

    The label's letters and digits stay, in NFC and shortened to what every file system takes; hex digits follow.
    """
    label = unicodedata.normalize("NFC", label)
    words = re.sub(r"[^\w.=-]+", "-", label).strip("-.") or "unnamed"
    short = words.encode("utf-8")[:NAME_BYTES].decode("utf-8", "ignore")
    digest = hashlib.sha256(json.dumps([label, decided_by]).encode()).hexdigest()[:8]
    return f"{short}-{digest}{suffix}"


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Holds the place of a file while what will fill it is made: one that cannot be written is known before.

    An empty file stands there meanwhile, unless one is there; it is removed if the block leaves it empty.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab"):
        pass
    beside = path.with_name(f"{path.name}.partial")
    beside.touch()
    beside.unlink()
    try:
        yield
    finally:
        if path.is_file() and path.stat().st_size == 0:
            path.unlink()


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


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Holds a file's lock together with others that do, so that `is_locked` says somebody does.

    Raises:
        OSError: if it cannot be made, or its file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock of a file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
