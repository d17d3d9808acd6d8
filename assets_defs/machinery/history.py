"""Whether Dagster's record of this home knows a build: one that was removed, or is another, is told of it again.

A history has an id, a file in `VISOR_HOME/dagster/history`; a build notes down which one it was last reported to.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from assets_defs.machinery.builds import Record
from visor_core.config import Home
from visor_core.files import write_text

TOLD = "told.txt"
"""In a build folder: the id of the history that knows it."""


def begin_history(home: Home) -> None:
    """Give the history of a home its id, if it has none."""
    if not _id_file(home).is_file():
        write_text(_id_file(home), uuid.uuid4().hex)


def note_told(home: Home, build_folder: Path) -> None:
    """Note down that a build is reported to the history of now. Checks follow, so a kill in between leaves it unchecked
    and it is reported again."""
    if known := _id(home):
        write_text(build_folder / TOLD, known)


def is_told(home: Home, record: Record) -> bool:
    """Whether the history of now knows a build."""
    path = record.build_folder(home) / TOLD
    return path.is_file() and path.read_text(encoding="utf-8") == _id(home)


def _id_file(home: Home) -> Path:
    return home.dagster / "history" / "visor.id"


def _id(home: Home) -> str:
    """The id of the history of now; "" if there is none."""
    path = _id_file(home)
    return path.read_text(encoding="utf-8") if path.is_file() else ""
