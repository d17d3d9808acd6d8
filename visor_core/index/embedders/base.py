"""The embedder protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PageInput:
    """A page as an embedder sees it; the picture is drawn only if asked for."""

    page_id: str
    text: str
    context: str
    image: Callable[[], Image.Image]


class Embedder(Protocol):
    """Turns pages and queries into vectors whose cosine (or MaxSim, if `multi_vector`) says how well they fit.

    `name` is the field's name of the embedder and prefixes its column; `spec` loads it again; `fingerprint` is a hash
    of everything that decides its vectors (weights, version), so that a changed one gets a new column. It reads a
    page's picture if `embeds_pictures`, else its text and context; a change of the other does not embed a page anew.
    """

    name: str
    spec: str
    fingerprint: str
    dimension: int
    multi_vector: bool
    embeds_pictures: bool

    def embed_pages(self, pages: Sequence[PageInput]) -> list[Vector]:
        """One array a page: (D,), or (T, D) if `multi_vector`; unit length along D."""
        ...

    def embed_query(self, query: str, statistics: Vector | None = None) -> Vector:
        """The query as (D,), or (T, D) if `multi_vector`. All zeros if it says nothing to this embedder."""
        ...

    def statistics(self, vectors: Iterable[Vector]) -> Vector | None:
        """What queries need to know of the indexed pages (kept with the index), or None."""
        ...


@runtime_checkable
class PatchEmbedder(Protocol):
    """A multi-vector embedder that can say where on the page its vectors belong."""

    def patch_tokens(self, picture: Image.Image) -> npt.NDArray[np.int64]:
        """Which of a page's vectors stand for which patch of its picture, (rows, columns)."""
        ...


def column_of(embedder: Embedder) -> str:
    """The column an embedder's page vectors are in: its name and the start of its fingerprint."""
    return f"{embedder.name}__{embedder.fingerprint[:8]}"
