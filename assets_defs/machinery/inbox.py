"""What lies ready for the user's corpora: `VISOR_HOME/inbox/<corpus>/`, and `<corpus>.questions.parquet` beside it."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from assets_defs.machinery.stage import Node
from visor_core.config import Home, corpus_name
from visor_core.errors import ConfigError

QUESTIONS = ".questions.parquet"
WATCHED = "inbox"
"""The figure of a build that holds the state of the files it was made from."""


def inbox_root(home: Home) -> Path:
    """The folder that holds the inboxes of all corpora."""
    return home.root / "inbox"


def questions_file(home: Home, corpus: str) -> Path:
    """Where the questions of a corpus are put."""
    return inbox_root(home) / f"{corpus}{QUESTIONS}"


def import_record(home: Home, corpus: str) -> Path:
    """Where it stands what was imported into a corpus, from which files and what was left out."""
    return inbox_root(home) / f"{corpus}.import.json"


def corpora_with_inbox(home: Home) -> tuple[list[str], list[str]]:
    """Corpora that documents or questions are put aside for, and for every other name there why it is none."""
    root = inbox_root(home)
    found, refused = set(), []
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.is_dir():
            name = path.name
        elif path.name.endswith(QUESTIONS):
            name = path.name.removesuffix(QUESTIONS)
        else:
            continue
        try:
            found.add(corpus_name(name))
        except ConfigError as error:
            refused.append(f"{path} is left alone: {error}")
    return sorted(found), refused


def watched_state(node: Node, home: Home) -> str:
    """Hash (16 hex digits) of names, sizes and times of the files that a watching node reads; "" if there are none."""
    place = home.inbox(node.partition) if node.stage == "documents" else questions_file(home, node.partition)
    return _hashed(_rows(place))


def inbox_state(home: Home, corpus: str) -> str:
    """The same of all that is put aside for a corpus."""
    return _hashed([*_rows(home.inbox(corpus)), *_rows(questions_file(home, corpus))])


def settles(home: Home, corpus: str, seconds: float) -> bool:
    """Whether something in the inbox changed less than so long ago: it may still be on its way."""
    now = time.time()
    times = [
        status.st_ctime for place in (home.inbox(corpus), questions_file(home, corpus)) for _, status in _files(place)
    ]
    return any(0 <= now - changed < seconds for changed in times)


def _rows(place: Path) -> list[bytes]:
    """A line a file. A name need not be UTF-8."""
    return [
        os.fsencode(path.relative_to(place.parent)) + f" {status.st_size} {status.st_mtime_ns}".encode()
        for path, status in _files(place)
    ]


def _files(place: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files under a folder, or the file itself, by name; hidden ones are left out."""
    for path in sorted(p for p in (place, *place.rglob("*")) if not p.name.startswith(".")):
        try:
            status = path.stat()
        except OSError:
            continue  # it went meanwhile, or is no file: the ingest says why it cannot be read
        if stat.S_ISREG(status.st_mode):
            yield path, status


def _hashed(rows: list[bytes]) -> str:
    return hashlib.sha256(b"\n".join(rows)).hexdigest()[:16] if rows else ""
