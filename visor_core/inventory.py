"""Which files a folder held when it was finished: by size for a look that costs nothing, by content on request."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Held:
    """One file: its size in bytes and the SHA-256 of its content, empty where it was not taken."""

    size: int
    sha256: str = ""


Inventory = dict[str, Held]
"""Files by their path relative to a root, with forward slashes."""


def take_inventory(root: Path, places: Iterable[Path], *, hashed: bool = False) -> Inventory:
    """What lies in files and folders below `root` now; locks and half-written files are left out."""
    found: Inventory = {}
    for place in places:
        for path in _files(place):
            name = path.relative_to(root).as_posix()
            found[name] = Held(path.stat().st_size, sha256_of(path) if hashed else "")
    return found


def _files(place: Path) -> Iterator[Path]:
    """The files at a place; its own if it is one."""
    if place.is_file():
        yield place
    for folder, folders, names in os.walk(place):
        folders.sort()
        for name in sorted(names):
            if not name.endswith((".lock", ".partial")):
                yield Path(folder) / name


def missing(root: Path, inventory: Inventory, *, deep: bool = False) -> dict[str, str]:
    """The files that are gone or have another size and, with `deep`, those of other content; and which of it is so."""
    found = {}
    for name, held in sorted(inventory.items()):
        try:
            size = (root / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            found[name] = "is gone"
            continue
        if size != held.size:
            found[name] = f"has {size:,} bytes instead of {held.size:,}"
        elif deep and held.sha256 and sha256_of(root / name) != held.sha256:
            found[name] = "holds other bytes than were written"
    return found


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def as_json(inventory: Inventory) -> dict[str, Any]:
    """An inventory as JSON values."""
    return {name: asdict(held) for name, held in inventory.items()}


def from_json(values: dict[str, Any]) -> Inventory:
    """What `as_json` made.

    Raises:
        TypeError, AttributeError: if the values are none.
    """
    return {name: Held(**held) for name, held in values.items()}
