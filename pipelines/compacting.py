"""What the corpora of a home keep of their former states: one rule for `visor index compact` and `visor gc`."""

from __future__ import annotations

from visor_core.config import Home, IndexConfig
from visor_core.index import Corpus, read_settings, upkeep
from visor_core.index.retention import retention
from visor_core.lineage.index_tags import named_tags


def leaving_tags(home: Home) -> dict[str, tuple[str, ...]]:
    """By corpus, the index tags that compacting it forgets; corpora without any are left out."""
    named = named_tags(home)
    found = {}
    for corpus in home.corpora():
        store = Corpus(home.corpus(corpus))
        if tags := retention(store, _kept(store), named).leaving:
            found[corpus] = tags
    return found


def compacted(home: Home, corpus: str) -> list[str]:
    """Compact a corpus, and say what came of it."""
    store = Corpus(home.corpus(corpus))
    freed = upkeep.compact(store, keep=_kept(store), named=named_tags(home))
    lines = [f"forgot the index tag {tag}, which nothing names" for tag in freed.forgotten]
    if not freed.alone:
        lines.append(f"corpus {corpus} is open in another process: tags stay and nothing is merged until it is closed")
    lines.append(
        f"corpus {corpus}: freed {(freed.bytes_before - freed.bytes_after) / 2**20:.1f} MiB,"
        f" {freed.bytes_before / 2**20:.1f} MiB before, {freed.bytes_after / 2**20:.1f} MiB after,"
        f" {freed.sources_removed} documents removed; tags kept: {', '.join(freed.tags)}"
    )
    return lines


def _kept(corpus: Corpus) -> int:
    """How many of the newest tags a corpus keeps."""
    return (read_settings(corpus).index or IndexConfig()).keep_tags
