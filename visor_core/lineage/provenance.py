"""What made a build: the commit of the code, Python, every installed package, the machine, and what was in effect."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from visor_core.errors import DataError
from visor_core.files import write_json
from visor_core.lineage.machine import machine

ROOT = Path(__file__).resolve().parents[2]
CODE = ("visor_core", "assets_defs", "pipelines", "infra", "pyproject.toml", "constraints.txt")
"""What of a checkout decides results; a changed README makes no commit dirty."""
IN_EFFECT = "in_effect.json"
"""In a build's folder: what its worker computed under, written by the worker itself."""
OWN = frozenset({"visor-rag", "pip", "setuptools", "wheel"})
"""Distributions that are the project itself, or only install others."""


@cache
def provenance() -> dict[str, Any]:
    """What every build of this process is made by, as JSON values."""
    return {
        "python": platform.python_version(),
        "code": commit_of(ROOT),
        "packages": installed_packages(),
        "machine": machine(),
    }


def commit_of(root: Path) -> dict[str, Any]:
    """The commit of a checkout, and whether its code differs from it (`dirty`); an empty commit outside one."""
    found = git(root, "rev-parse", "HEAD")
    if not found or git(root, "rev-parse", "--show-prefix"):
        return {"commit": "", "dirty": False}
    changed = git(root, "status", "--porcelain", "--", *(name for name in CODE if (root / name).exists()))
    return {"commit": found, "dirty": bool(changed)}


def git(root: Path, *arguments: str) -> str:
    """Output of a git command; empty where it fails, or where git or a repository is missing."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def installed_packages() -> dict[str, str]:
    """Versions of all installed distributions by normalised name, but for `OWN`.

    Read from the names of their metadata folders, which is fifty times as fast as reading the metadata.
    """
    found: dict[str, str] = {}
    for entry in sys.path:
        folder = Path(entry or ".")
        for path in folder.glob("*.dist-info") if folder.is_dir() else ():
            name, _, version = path.name.removesuffix(".dist-info").rpartition("-")
            # The first of a name on the path is the one that is imported.
            found.setdefault(normalised(name), version)
    return {name: version for name, version in sorted(found.items()) if name and name not in OWN}


def normalised(name: str) -> str:
    """A distribution's name as indexes compare them.

    >>> normalised("Typing_Extensions")
    'typing-extensions'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def write_in_effect(folder: Path, values: dict[str, Any]) -> None:
    """Keep what a worker computes under: threads, processes, device, precision, the capability torch has chosen."""
    write_json(folder / IN_EFFECT, values)


def read_in_effect(folder: Path) -> dict[str, Any]:
    """What the worker of a build computed under; empty where no worker of its own made it.

    Raises:
        DataError: if the file is damaged.
    """
    path = folder / IN_EFFECT
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged: delete it and build again") from error


def weights_hash(folder: Path) -> str:
    """Hash (64 hex digits) over the safetensors files directly in a folder, by name; empty without any."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as handle:
            digest.update(f"{path.name} ".encode())
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest() if files else ""
