"""Which commit the running code is: what tables of measurements are stamped with."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ("visor_core", "assets_defs", "pipelines", "infra", "pyproject.toml", "constraints.txt")


def commit(root: Path = ROOT) -> str:
    """The short hash of the checkout, with `+changes` if its code differs; `unknown` outside one."""
    found = _git(root, "rev-parse", "--short", "HEAD")
    if not found:
        return "unknown"
    changed = _git(root, "status", "--porcelain", "--", *(name for name in CODE if (root / name).exists()))
    return f"{found}+changes" if changed else found


def _git(root: Path, *arguments: str) -> str:
    """Output of a git command; empty where git or a repository is missing."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
