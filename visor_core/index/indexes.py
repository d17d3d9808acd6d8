"""The indexes of the tables: full text over whole pages and passages, and B-trees over the ids that rows are found by.

Rows that were added are indexed beside the others, at a cost that goes by their own number. Full text scores count
every row that an index ever held: where rows went, it is made anew, so that scores depend on content and not on the
order of edits; in a large table a small share of them is let be.
"""

from __future__ import annotations

from typing import Any

from visor_core.index.corpus import KEYS, Corpus
from visor_core.index.storage import add_part, documents_counted, merge_small
from visor_core.index.tags import list_tags, read_manifest

NGRAM = 5
LOOKED_UP = {
    "pages": ("page_id", "document_id"),
    "images": ("page_id",),
    "page_texts": ("page_id", "document_id"),
    "passages": ("page_id", "document_id"),
}
_LOOKED_UP_ROWS = 2_000
"""Rows below which a table is read through as quickly as it is looked up in."""
_ANEW_ROWS = 500
"""Rows below which an index is made anew in less time than a part is added."""
_EXACT_ROWS = 20_000
_GONE_SHARE = 0.02
"""Of more rows than that, this share may have gone without the full text index being made anew."""


def update_indexes(corpus: Corpus) -> None:
    """Bring all indexes but those of vectors in line with their tables; only while holding the corpus."""
    if "latest" in list_tags(corpus):
        published = read_manifest(corpus, "latest").tables
        if published == {name: int(corpus.table(name).version) for name in KEYS}:
            return  # a state is published when it is indexed
    for name, columns in LOOKED_UP.items():
        merge_small(corpus, name)
        for column in columns:
            _look_up_by(corpus, name, column)
    for name, configuration in _full_text().items():
        _search_by(corpus, name, configuration)


def _full_text() -> dict[str, Any]:
    """The full text index of the column `text` by table: 5-grams of whole pages, terms of passages.

    The terms are stemmed and without function words already; ICU cuts what has no spaces into words.
    """
    from lancedb.index import FTS

    return {
        "page_texts": FTS(
            base_tokenizer="ngram",
            ngram_min_length=NGRAM,
            ngram_max_length=NGRAM,
            stem=False,
            remove_stop_words=False,
            with_position=False,
        ),
        "passages": FTS(base_tokenizer="icu", stem=False, remove_stop_words=False, with_position=False),
    }


def index_on(table: Any, column: str) -> str:
    """The name of the index on a column; "" where there is none."""
    return next((str(index.name) for index in table.list_indices() if index.columns == [column]), "")


def unindexed(table: Any, index: str) -> int:
    """Rows of a table that one of its indexes does not cover."""
    return int(table.index_stats(index).num_unindexed_rows)


def _look_up_by(corpus: Corpus, name: str, column: str) -> None:
    """A B-tree over a column of a table that is large enough."""
    from lancedb.index import BTree

    table = corpus.table(name)
    index = index_on(table, column)
    if index and unindexed(table, index):
        add_part(corpus, name, index)
    elif not index and table.count_rows() >= _LOOKED_UP_ROWS:
        table.create_index(column, config=BTree())


def _search_by(corpus: Corpus, name: str, configuration: Any) -> None:
    """The full text index of a table."""
    table = corpus.table(name)
    held, index = int(table.count_rows()), index_on(table, "text")
    if not held:
        return
    new = unindexed(table, index) if index else held
    gone = documents_counted(corpus, name, index) - (held - new) if index else 0
    allowed = _GONE_SHARE * held if held > _EXACT_ROWS else 0
    if not index or gone > allowed or (new and held < _ANEW_ROWS):
        table.create_index("text", config=configuration, replace=True)
    elif new:
        add_part(corpus, name, index)
