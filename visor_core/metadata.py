"""What is said of a document beside its bytes, and conditions over it: tags, dates, who may see it, anything by key.

Metadata are lines `key=value`, several of one key where it has several values. They are given with a call, or stand in
sidecar files: `report.pdf.meta.yaml` of one file, `meta.yaml` of a folder and all below it, the nearer ones before the
farther ones. A document's source folder is the key `folder` without being given.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import yaml

from visor_core.errors import ConfigError, DocumentError

ACCESS, FOLDER = "access", "folder"
"""The key whose values say who may see a document, and the one that its place gives."""
OF_FOLDER, OF_FILE = "meta.yaml", ".meta.yaml"
"""Name of a folder's sidecar, and what is added to a file's name for its own."""
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_LONGEST_VALUE, _LARGEST_SIDECAR, _MOST_LINES = 200, 65_536, 200
_CONDITION = re.compile(rf"({_KEY.pattern})\s*(?:(!=|>=|<=|=|>|<)\s*([^=<>!].*)?)?", re.DOTALL)


def is_sidecar(name: str) -> bool:
    """Whether a file of this name says something of others."""
    return name == OF_FOLDER or name.endswith(OF_FILE)


def parse_metadata(given: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`key=value` lines → values by key, sorted; an empty value stands for none, which takes the key away.

    Raises:
        ConfigError: naming the line that is none.
    """
    found: dict[str, set[str]] = {}
    for line in given:
        key, equals, value = line.partition("=")
        key, value = key.strip(), " ".join(value.split())
        if not equals or not _KEY.fullmatch(key) or len(value) > _LONGEST_VALUE or key == FOLDER:
            raise ConfigError(
                f"{line[:80]!r} is no metadata: give key=value, such as team=finance; a key is a letter, then letters, "
                f"digits, _ . or -, and not {FOLDER!r}, which a document's place says; a value has at most "
                f"{_LONGEST_VALUE} characters"
            )
        found.setdefault(key, set()).update({value} - {""})
    return {key: tuple(sorted(values)) for key, values in found.items()}


def lines_of(metadata: Mapping[str, Iterable[str]]) -> list[str]:
    """Values by key → sorted lines."""
    return sorted(f"{key}={value}" for key, values in metadata.items() for value in values)


def as_sidecar(lines: Iterable[str]) -> str:
    """The sidecar file that says these lines."""
    return yaml.safe_dump({key: list(values) for key, values in parse_metadata(lines).items()})


def read_sidecar(path: Path) -> dict[str, tuple[str, ...]]:
    """What a sidecar file says: a mapping of keys to a value or a list of them.

    Raises:
        DocumentError: if it cannot be read or says something else, naming the key.
    """
    try:
        if path.stat().st_size > _LARGEST_SIDECAR:
            raise DocumentError(f"it has more than {_LARGEST_SIDECAR:,} bytes")
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DocumentError(f"it cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DocumentError(f"it is no YAML: {' '.join(str(error).split())[:160]}") from error
    if told is None:
        return {}
    if not isinstance(told, dict):
        raise DocumentError("it is no mapping: write lines such as  team: finance")
    lines = []
    for key, value in told.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, datetime.date):
                one = one.isoformat()
            if not isinstance(one, str | int | float):
                raise DocumentError(f"{str(key)[:80]!r} is neither a value nor a list of values")
            lines.append(f"{key}={str(one).lower() if isinstance(one, bool) else one}")
    if len(lines) > _MOST_LINES:
        raise DocumentError(f"it says more than {_MOST_LINES} things")
    try:
        return parse_metadata(lines)
    except ConfigError as error:
        raise DocumentError(str(error)) from error


class Sidecars:
    """Reads the sidecar files of many documents, each once; `faults` holds those that say nothing, and why."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """`roots` are the folders that were given: a folder's sidecar counts from there downwards."""
        self._roots = [root.absolute() for root in roots]
        self._read: dict[Path, dict[str, tuple[str, ...]]] = {}
        self.faults: dict[Path, str] = {}

    def of(self, path: Path) -> dict[str, tuple[str, ...]]:
        """What is said of a file."""
        path = path.absolute()
        folders = [path.parent]
        root = next((root for root in self._roots if path.is_relative_to(root)), path.parent)
        while folders[-1] != root and folders[-1].is_relative_to(root):
            folders.append(folders[-1].parent)
        found: dict[str, tuple[str, ...]] = {}
        for sidecar in (*(folder / OF_FOLDER for folder in reversed(folders)), path.with_name(path.name + OF_FILE)):
            found |= self._said(sidecar)
        return {key: values for key, values in found.items() if values}

    def _said(self, sidecar: Path) -> dict[str, tuple[str, ...]]:
        if sidecar not in self._read:
            self._read[sidecar] = {}
            try:
                there = sidecar.is_file()
            except OSError:  # its folder is closed, which is said of the folder, or its name would be too long
                there = False
            if there:
                try:
                    self._read[sidecar] = read_sidecar(sidecar)
                except DocumentError as error:
                    self.faults[sidecar] = str(error)
        return self._read[sidecar]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition over a document's metadata: a key that is there (`operator` ""), or one of whose values compares."""

    key: str
    operator: str
    value: str

    def holds(self, metadata: Sequence[str], uri: str) -> bool:
        """Whether it holds for a document with these lines of metadata, from this address."""
        if self.key == FOLDER:
            inside = _is_below(uri, self.value)
            return inside if self.operator == "=" else not inside
        values = [line.partition("=")[2] for line in metadata if line.partition("=")[0] == self.key]
        if self.operator == "":
            return bool(values)
        if self.operator == "!=":
            return self.value not in values
        return any(_compares(value, self.operator, self.value) for value in values)


def parse_condition(text: str) -> Condition:
    """A condition as a user writes it: `team=finance`, `team!=legal`, `date>=2024-05`, `pages<10`, `draft`.

    Numbers compare as numbers, all else by its letters, as dates written from the year on do.

    Raises:
        ConfigError: if it is none.
    """
    found = _CONDITION.fullmatch(text.strip())
    key, operator, value = found.groups(default="") if found else ("", "", "")
    value = " ".join(value.split())
    if not key or (operator and not value) or (key == FOLDER and operator not in ("=", "!=")):
        raise ConfigError(
            f"{text[:80]!r} is no condition: write a key alone, or key=value with one of = != >= <= > < between; "
            f"{FOLDER} takes = and !="
        )
    return Condition(key, operator, value)


def _compares(one: str, operator: str, other: str) -> bool:
    if operator == "=":
        return one == other
    try:
        left, right = float(one), float(other)
    except ValueError:
        return _ordered(one, operator, other)
    return _ordered(left, operator, right)


def _ordered(one: str | float, operator: str, other: str | float) -> bool:
    """Whether two numbers, or two texts, are in this order."""
    if one == other:
        return operator in (">=", "<=")
    larger = one > other  # type: ignore[operator]
    return larger == operator.startswith(">")


def _is_below(uri: str, folder: str) -> bool:
    """Whether a document's address has these folders, one below the other, among its own."""
    above = PurePosixPath(unquote(urlsplit(uri).path)).parent
    wanted = folder.strip("/").replace("\\", "/")
    return bool(wanted) and f"/{wanted}/" in f"/{str(above).strip('/')}/"
