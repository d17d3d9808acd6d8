"""What is installed under which name, and the command that installs what is missing: every remedy takes it from here.

On the public index `visor` is somebody else's program, so the distribution has another name than the command. In a
checkout the pinned versions of `constraints.txt` apply.
"""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
from pathlib import Path

DISTRIBUTION = "visor-rag"
UNPINNED = {"colpali"}
"""Extras that cannot be had with `constraints.txt`: colpali-engine wants an older peft than the one pinned there."""
ROOT = Path(__file__).resolve().parents[1]


def version() -> str:
    """The installed version, or where the code runs from if it was not installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return f"(not installed: the code of {ROOT})"


def install_command(*extras: str, root: Path = ROOT, folder: Path | None = None) -> str:
    """The shell command that adds extras of this project to this environment.

    Args:
        root: where the code lies: a checkout, or the packages of an environment.
        folder: where the command will be typed; the current folder by default.
    """
    wanted = f"[{','.join(extras)}]"
    constraints = root / "constraints.txt"
    if not (constraints.is_file() and (root / "pyproject.toml").is_file()):
        return shlex.join([sys.executable, "-m", "pip", "install", f"{DISTRIBUTION}{wanted}"])
    here = root == (folder or Path.cwd())
    python = Path(sys.executable)
    if here and python.is_relative_to(root):
        python = python.relative_to(root)
    # pip reads `#` and `%` of a path as those of an address: inside the checkout none is needed.
    pins = [] if UNPINNED & set(extras) else ["-c", "constraints.txt"]
    inside = shlex.join([str(python), "-m", "pip", "install", *pins, "-e", f".{wanted}"])
    return inside if here else f"cd {shlex.quote(str(root))} && {inside}"
