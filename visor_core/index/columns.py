"""Vector columns of the table pages: their names and types, what fills them, and which may be dropped.

A page whose picture cannot be drawn has no vector of an embedder that wants it; the pages beside it have.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from visor_core.errors import DocumentError, SearchIndexError
from visor_core.index.corpus import Corpus
from visor_core.index.embedders.base import Embedder, PageInput, Vector, column_of
from visor_core.index.settings import EVERY_COLUMN


def key_column(column: str) -> str:
    """The column beside a vector column that says what each vector was made of."""
    return f"{column}_key"


def vector_type(embedder: Embedder) -> pa.DataType:
    if embedder.multi_vector:
        return pa.list_(pa.list_(pa.float16(), embedder.dimension))
    return pa.list_(pa.float32(), embedder.dimension)


def vector_array(vectors: Sequence[Vector], kind: pa.DataType) -> pa.Array:
    """Vectors as one Arrow array, without passing through Python floats."""
    if pa.types.is_fixed_size_list(kind):
        flat = np.concatenate([np.asarray(v, np.float32) for v in vectors])
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), kind.list_size)
    inner = kind.value_type
    flat = np.concatenate([np.asarray(v, np.float16).reshape(-1) for v in vectors])
    offsets = np.cumsum([0, *(len(v) for v in vectors)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.FixedSizeListArray.from_arrays(pa.array(flat), inner.list_size), type=kind
    )


def embed_drawable(embedder: Embedder, pages: Sequence[PageInput]) -> tuple[dict[str, Vector], dict[str, str]]:
    """Vectors by page id, and why the other pages could not be drawn for the embedder."""
    undrawn: dict[str, str] = {}
    while True:
        left = [page for page in pages if page.page_id not in undrawn]
        try:
            vectors = embedder.embed_pages(left) if left else []
            return {page.page_id: vector for page, vector in zip(left, vectors, strict=True)}, undrawn
        except DocumentError:
            faults = dict(filter(None, (_fault(page) for page in left)))
            if not faults:
                raise  # it is not a page's picture that the embedder failed of
            undrawn |= faults


def _fault(page: PageInput) -> tuple[str, str] | None:
    """A page that cannot be drawn, with why."""
    try:
        page.image()
    except DocumentError as error:
        return page.page_id, str(error)
    return None


def stale_columns(corpus: Corpus, embedders: Sequence[Embedder], drop: Collection[str]) -> list[str]:
    """Vector columns, and the keys beside them, that no embedder of this build fills.

    Raises:
        SearchIndexError: if one of them is not to be dropped, or one to be dropped is filled.
    """
    table = corpus.table("pages")
    filled = {column_of(e): e for e in embedders}
    present = [name for name in table.schema.names if "__" in name and not name.endswith("_key")]
    for name in present:
        if name in drop and name in filled:
            raise SearchIndexError(f"the vector column {name} is filled by the embedder {filled[name].spec}: drop that")
        count = int(table.count_rows(f"{name} IS NOT NULL"))
        if count and name not in filled and name not in drop and EVERY_COLUMN not in drop:
            specs = ", ".join(e.spec for e in embedders) or "there is none"
            raise SearchIndexError(
                f"corpus {corpus.root.name!r} has {count:,} vectors in the column {name}, which no embedder of this "
                f"run fills ({specs}; other weights make other vectors): add --drop-column {name} to lose them"
            )
    stale = [name for name in present if name not in filled]
    return stale + [key_column(name) for name in stale if key_column(name) in table.schema.names]
