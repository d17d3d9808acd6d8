"""MaxSim, the score of late interaction (ColBERT, arXiv 2004.12832), over Arrow columns of token vectors.

A page's score is the sum over query tokens of their best page token. Leaves out: finding candidates (`nearest`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Matrix = npt.NDArray[np.float32]


def max_sim(query: Matrix, page: Matrix) -> float:
    """Σ over query tokens of the largest dot product with a page token; (Q, D) and (T, D) of unit vectors."""
    return float((query @ page.T).max(axis=1).sum())


def max_sim_many(query: Matrix, pages: pa.ListArray | pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """MaxSim of a query (Q, D) with every page of an Arrow multi-vector column; (N,). A null or empty page scores 0."""
    if isinstance(pages, pa.ChunkedArray):
        pages = pages.combine_chunks()
        if isinstance(pages, pa.ChunkedArray):
            pages = pages.chunk(0) if pages.num_chunks else pa.array([], type=pages.type)
    if len(pages) == 0:
        return np.zeros(0, dtype=np.float32)
    lengths = np.diff(pages.offsets.to_numpy())
    flat = pages.flatten().flatten().to_numpy(zero_copy_only=False)
    tokens = np.asarray(flat, dtype=np.float32).reshape(-1, query.shape[1])
    scores = np.zeros(len(pages), dtype=np.float32)
    similarity = tokens @ query.T
    filled = np.flatnonzero(lengths > 0)
    if len(filled):
        starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
        scores[filled] = np.maximum.reduceat(similarity, starts[filled], axis=0).sum(axis=1)
    return scores


def order_by_score(names: Sequence[str], scores: npt.NDArray[np.float32]) -> list[tuple[str, float]]:
    """Names with scores, best first, equal scores by name."""
    return sorted(zip(names, (float(s) for s in scores), strict=True), key=lambda pair: (-pair[1], pair[0]))
