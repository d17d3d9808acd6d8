"""Vector search in the table pages: exhaustive, or approximate with exact rescoring.

LanceDB's approximate multi-vector search fetches token vectors before it scores pages and loses candidates when few
are asked for: it is asked for many (`candidates`), whose full vectors are then scored exactly. A single-vector index
keeps one bit a dimension, and LanceDB rescores its candidates itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from visor_core.index.multivector import Matrix, max_sim_many, order_by_score
from visor_core.index.tags import Manifest, VectorColumn

_REFINE = 30
"""Candidates a wanted page that LanceDB rescores of a single-vector index."""
_FEWEST = 200
"""Candidates of a multi-vector search in a small corpus: they cost milliseconds."""
_RESCORED = 256
"""Pages rescored at a time: in full precision each is a third of a megabyte (ColQwen2)."""


def candidates(pages: int, depth: int, overfetch: int) -> int:
    """How many of `pages` an approximate multi-vector search asks for, to return `depth` of them.

    `overfetch` tens, or, where that is 0, the number of pages to the power 3/4. A query token's nearest tokens lie on
    the pages that resemble the wanted one, and these grow in number with the corpus, so that a fixed number of
    candidates loses pages. Over noisy copies of real ColQwen2 pages 99 % of the exact first ten need 50 candidates of
    250 pages, 100 of 500, 200 of 2,000, 400 of 4,000, 700 of 10,000: more than the square root, less than a share.
    """
    wanted = 10 * overfetch if overfetch else max(_FEWEST, math.ceil(pages**0.75))
    return min(pages, max(depth, wanted))


def nearest(
    table: Any,
    manifest: Manifest,
    vector: VectorColumn,
    query: np.ndarray,
    depth: int,
    condition: str = "",
    *,
    exhaustive: bool = False,
) -> list[tuple[str, float]]:
    """Pages by cosine, or by MaxSim of a multi-vector column, best first.

    Args:
        table: pages, at the manifest's version.
        query: (D,), or (T, D) of a multi-vector column.
        depth: most pages.
        condition: an SQL filter.
        exhaustive: do without the approximate index.
    """
    approximate = vector.indexed and not exhaustive
    rescored = vector.multi_vector and approximate
    pages = manifest.counts["pages"]
    wanted = candidates(pages, depth, manifest.settings["overfetch"]) if rescored else min(depth, pages)
    request = table.search(query, vector_column_name=vector.column, query_type="vector")
    request = request.distance_type("cosine").limit(wanted)
    if approximate and not vector.multi_vector:
        request = request.refine_factor(_REFINE)
    if exhaustive:
        request = request.bypass_vector_index()
    if condition:
        request = request.where(condition, prefilter=True)
    found = request.select(["page_id", "_distance", *([vector.column] if rescored else [])]).to_arrow()
    names = found["page_id"].to_pylist()
    if rescored:
        return order_by_score(names, _rescored(np.asarray(query, np.float32), found.select([vector.column])))[:depth]
    scored = order_by_score(names, 1.0 - found["_distance"].to_numpy())
    # A page whose only vector has cosine 0 shares nothing with the query.
    return scored if vector.multi_vector else [pair for pair in scored if pair[1] > 1e-6]


def _rescored(query: Matrix, found: pa.Table) -> Matrix:
    """MaxSim of a query with every page of a table of one column, a few pages in memory at full precision; (N,)."""
    batches = found.to_batches(max_chunksize=_RESCORED)
    return np.concatenate([np.zeros(0, np.float32), *(max_sim_many(query, batch.column(0)) for batch in batches)])
