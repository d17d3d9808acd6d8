"""Which commit the running code is: what tables of measurements are stamped with."""

from __future__ import annotations

from pathlib import Path

from visor_core.lineage.provenance import ROOT, commit_of, git


def commit(root: Path = ROOT) -> str:
    """The short hash of the checkout, with `+changes` if its code differs; `unknown` outside one."""
    found = commit_of(root)
    if not found["commit"]:
        return "unknown"
    short = git(root, "rev-parse", "--short", "HEAD")
    return f"{short}+changes" if found["dirty"] else short
