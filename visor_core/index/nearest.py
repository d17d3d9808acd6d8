"""Vector search in the table pages: exhaustive, or approximate with exact rescoring.

LanceDB's approximate multi-vector search fetches token vectors before it scores pages and loses candidates when few
are asked for: it is asked for many (`index.overfetch`), whose full vectors are then scored exactly. A single-vector
index keeps one bit a dimension, and LanceDB rescores its candidates itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from visor_core.index.multivector import max_sim_many, order_by_score
from visor_core.index.tags import Manifest, VectorColumn

_REFINE = 30
"""Candidates a wanted page that LanceDB rescores of a single-vector index."""


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
    wanted = max(depth, 10 * manifest.settings["overfetch"]) if rescored else depth
    request = table.search(query, vector_column_name=vector.column, query_type="vector")
    request = request.distance_type("cosine").limit(min(wanted, manifest.counts["pages"]))
    if approximate and not vector.multi_vector:
        request = request.refine_factor(_REFINE)
    if exhaustive:
        request = request.bypass_vector_index()
    if condition:
        request = request.where(condition, prefilter=True)
    found = request.select(["page_id", "_distance", *([vector.column] if rescored else [])]).to_arrow()
    names = found["page_id"].to_pylist()
    if rescored:
        return order_by_score(names, max_sim_many(np.asarray(query, np.float32), found[vector.column]))[:depth]
    scored = order_by_score(names, 1.0 - found["_distance"].to_numpy())
    # A page whose only vector has cosine 0 shares nothing with the query.
    return scored if vector.multi_vector else [pair for pair in scored if pair[1] > 1e-6]
