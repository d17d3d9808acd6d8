"""The index tags that a home's trajectories, checkpoints, evaluations and champions name: each can still be searched.

Told by the lineages of builds, and by what episodes and results say themselves, finished or not.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from visor_core.config import Home
from visor_core.lineage.graph import is_in_force, read_builds

_OF_CORPORA = ("documents", "pages", "page_index")
"""Stages whose every build names a tag of its own: they count where they are in force."""
_NAMED = re.compile(rb'index_tag\\*"\s*:\s*\\*"([A-Za-z0-9._-]{1,100})\\*"')
"""A tag in JSON, and in JSON that is kept as a string in it."""


def named_tags(home: Home) -> set[str]:
    """Every index tag that something stored names.

    Raises:
        DataError: if a lineage cannot be read: what it needs is not known.
    """
    found = {
        str(build.stored["index_tag"])
        for build in read_builds(home).values()
        if build.stored.get("index_tag") and (build.stage not in _OF_CORPORA or is_in_force(home, build))
    }
    for path in _stored(home):
        found |= set(_in_table(path) if path.suffix == ".parquet" else _in_text(path))
    return found


def _stored(home: Home) -> Iterator[Path]:
    """Files that episodes and results lie in."""
    stages = [path for path in home.asset().glob("*") if path.name not in _OF_CORPORA]
    for folder in (*stages, home.evaluations, home.imported):
        for suffix in ("json", "jsonl", "parquet"):
            yield from sorted(folder.rglob(f"*.{suffix}"))


def _in_text(path: Path) -> Iterator[str]:
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for tag in {bytes(match[1]) for match in _NAMED.finditer(content)}:
            yield tag.decode()


def _in_table(path: Path) -> list[str]:
    table = pl.scan_parquet(path)
    if "index_tag" not in table.collect_schema().names():
        return []
    return [tag for tag in table.select(pl.col("index_tag").unique()).collect()["index_tag"].to_list() if tag]
