"""Which files a folder held when it was finished, and whether they are the same now.

A look costs nothing: a file of the size that was written is hashed only where its times are not those at which its
content was last known (`Verified`). On request every file is hashed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from visor_core.files import whole_file


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


class Verified:
    """Hashes of files with the times at which they were taken, in a JSON file that may be deleted.

    The time of the last change of the inode counts beside that of modification, which a copy or an editor may keep.
    What only pretends to have both is found by a look at every file's content.
    """

    def __init__(self, path: Path, root: Path) -> None:
        """Read what is known.

        Args:
            path: where it is kept.
            root: what names are relative to.
        """
        self._path, self._root = path, root
        self._known = self._read()
        self._new: dict[str, list[int | str]] = {}

    def _read(self) -> dict[str, list[int | str]]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8")).items())
        except (OSError, ValueError, AttributeError):
            return {}  # absent or damaged: only time is lost, everything is hashed once

    def _state(self, name: str, sha256: str) -> list[int | str]:
        status = (self._root / name).stat()
        return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, sha256]

    def holds(self, name: str, sha256: str) -> bool:
        """Whether a file has not been touched since its content was found to have this hash."""
        return self._known.get(name) == self._state(name, sha256)

    def note(self, inventory: Inventory) -> None:
        """The content of these files is known now."""
        for name, held in inventory.items():
            self._known[name] = self._new[name] = self._state(name, held.sha256)

    def keep(self) -> None:
        """Write down what was noted; files that are gone are left out."""
        if not self._new:
            return
        held = {name: state for name, state in {**self._read(), **self._new}.items() if (self._root / name).is_file()}
        try:
            with whole_file(self._path, several_writers=True) as partial:
                partial.write_text(json.dumps(held), encoding="utf-8")
        except OSError:
            return  # only time is lost: the next look hashes them again
        self._new = {}


def missing(
    root: Path, inventory: Inventory, *, deep: bool = False, verified: Verified | None = None
) -> dict[str, str]:
    """The files that are gone, have another size or other content than was written; and which of it is so.

    Args:
        deep: hash every file.
        verified: hash the files that were touched since their content was known, and note those that are the same;
            without it, and without `deep`, sizes alone are compared.
    """
    found = {}
    for name, held in sorted(inventory.items()):
        try:
            size = (root / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            found[name] = "is gone"
            continue
        if size != held.size:
            found[name] = f"has {size:,} bytes instead of {held.size:,}"
        elif held.sha256 and (deep or (verified is not None and not verified.holds(name, held.sha256))):
            if sha256_of(root / name) != held.sha256:
                found[name] = "holds other bytes than were written"
            elif verified is not None:
                verified.note({name: held})
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
