"""What Lance offers and LanceDB's interface does not: indexes in parts, merging few files, clearing versions.

LanceDB's `optimize` writes a table and its indexes whole, and refuses to clear versions past a tagged one. Here added
rows get a part of an index of their own, and parts are merged as their sizes double. Full text scores are those of one
index over all parts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from visor_core.addresses import lance_address
from visor_core.index.corpus import Corpus

FULL_ROWS = {"documents": 65_536, "pages": 4_096, "images": 1_024, "page_texts": 8_192, "passages": 32_768}
"""Rows of a fragment that is left alone: at most so many are written anew when small ones are merged."""
_SMALL_FRAGMENTS = 32
"""Fragments of fewer rows that a table may hold: every commit names them all."""


def dataset(corpus: Corpus, name: str) -> Any:
    """A table of a corpus as Lance opens it, at its newest version."""
    import lance  # half a second, which whoever only reads a corpus does not wait

    return lance.dataset(f"{lance_address(corpus.root / 'lancedb')}/{name}.lance")


def add_part(corpus: Corpus, name: str, index: str) -> None:
    """Cover the rows of a table that an index does not cover yet, by a new part or one merged with the last ones."""
    table = dataset(corpus, name)
    stats = table.stats.index_stats(index)
    count = parts_to_merge(stats["num_indexed_rows_per_delta"], stats["num_unindexed_rows"])
    table.optimize.optimize_indices(num_indices_to_merge=count, index_names=[index])


def parts_to_merge(parts: Sequence[int], added: int) -> int:
    """How many of the last parts of an index, by their rows, the added rows are merged with.

    A part is merged with what comes after it once that has grown to its size: a row is then written anew about once
    for every doubling, and there are about as many parts as doublings.

    >>> [parts_to_merge(parts, 10) for parts in ([1000], [1000, 10], [1000, 20, 10], [1000, 40])]
    [0, 1, 2, 0]
    """
    count = 0
    while count < len(parts) and parts[-1 - count] <= added:
        count += 1
        added += parts[-count]
    return count


def documents_counted(corpus: Corpus, name: str, index: str) -> int:
    """Rows that a full text index counts in its scores: those that went since they were indexed are among them."""
    stats = dataset(corpus, name).stats.index_stats(index)
    return sum(int(part["num_docs"]) for part in stats["indices"])


def merge_small(corpus: Corpus, name: str) -> bool:
    """Merge the fragments of few rows where there are many of them; whether that was so."""
    table = corpus.table(name)
    if table.stats()["fragment_stats"]["num_fragments"] <= _SMALL_FRAGMENTS:
        return False
    data = dataset(corpus, name)
    if sum(fragment.physical_rows < FULL_ROWS[name] for fragment in data.get_fragments()) <= _SMALL_FRAGMENTS:
        return False
    data.optimize.compact_files(target_rows_per_fragment=FULL_ROWS[name])
    return True


def merge_all(corpus: Corpus, name: str) -> bool:
    """Merge small fragments and parts of indexes, and leave out rows that went; whether there was any of that.

    Until the versions before are cleared the table lies there twice.
    """
    fragments = dataset(corpus, name).get_fragments()
    small = sum(fragment.physical_rows < FULL_ROWS[name] for fragment in fragments)
    scattered = small > 1 or any(fragment.num_deletions for fragment in fragments)
    # Parts first: fragments that different parts of an index cover are not merged with each other.
    merged = _merge_parts(corpus, name, least=2)
    if scattered:
        dataset(corpus, name).optimize.compact_files(
            target_rows_per_fragment=FULL_ROWS[name], materialize_deletions_threshold=0.0
        )
        _merge_parts(corpus, name, least=1)
    return scattered or merged


def _merge_parts(corpus: Corpus, name: str, *, least: int) -> bool:
    """Make one part of each index of a table that has at least `least`; whether there was any."""
    table = corpus.table(name)
    parts = {i.name: int(table.index_stats(i.name).num_indices) for i in table.list_indices()}
    for index, count in parts.items():
        if count >= least:
            dataset(corpus, name).optimize.optimize_indices(num_indices_to_merge=count, index_names=[index])
    return any(count >= least for count in parts.values())


def clear_versions(corpus: Corpus, name: str, needed: Collection[int]) -> None:
    """Delete the versions of a table that are neither needed nor its newest, and what they alone hold.

    Args:
        corpus: where; held for writing.
        name: which table.
        needed: versions that stay.
    """
    pins = corpus.table(name).tags
    for label, pin in pins.list().items():
        if int(pin["version"]) not in needed:
            pins.delete(label)
    dataset(corpus, name).cleanup_old_versions(
        older_than=timedelta(0),
        # Files that no version names are left of killed writers: nobody else writes while the corpus is held.
        delete_unverified=True,
        error_if_tagged_old_versions=False,
    )
