"""Which tags of a corpus stay: the newest, those that something stored names, and those that a person named.

A tag keeps the table versions it names readable, and their files on the disk. What names tags outside the corpus is
told by the caller (`visor_core.lineage.index_tags`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from visor_core.index.corpus import Corpus
from visor_core.index.tags import Manifest, list_tags, read_manifest

_MADE = re.compile(r"index-[0-9a-f]{16}")
"""How a build names a tag after its content; any other name was given."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The tags of a corpus: why each that stays does, and those that may go, oldest first."""

    kept: dict[str, str]
    leaving: tuple[str, ...]


def retention(corpus: Corpus, keep: int, named: Collection[str]) -> Retention:
    """Say which tags stay.

    Args:
        corpus: where.
        keep: how many of the newest stay (`index.keep_tags`).
        named: tags that something stored names.

    Raises:
        SearchIndexError: if a manifest is damaged.
    """
    manifests = {tag: read_manifest(corpus, tag) for tag in list_tags(corpus) if tag != "latest"}
    newest = sorted(manifests, key=lambda tag: (_age(manifests[tag]), tag), reverse=True)
    latest = read_manifest(corpus, "latest").tag if "latest" in list_tags(corpus) else ""
    kept: dict[str, str] = {}
    for place, tag in enumerate(newest):
        if tag == latest:
            kept[tag] = "the latest"
        elif tag in named:
            kept[tag] = "named by what is stored"
        elif not _MADE.fullmatch(tag):
            kept[tag] = "given this name"
        elif place < keep:
            kept[tag] = f"of the newest {keep}"
    return Retention(kept, tuple(tag for tag in reversed(newest) if tag not in kept))


def _age(manifest: Manifest) -> int:
    """How far the tables had come: a sum of their versions, which only grow."""
    return sum(manifest.tables.values())


def forget(corpus: Corpus, tags: Collection[str]) -> None:
    """Delete the manifests of tags; what they alone kept goes with the next compaction."""
    for tag in tags:
        (corpus.tags / f"{tag}.json").unlink()
