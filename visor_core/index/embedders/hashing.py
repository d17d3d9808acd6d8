"""The embedded default: hashed words and character n-grams, no download and no training.

A page is the sublinear counts of its words and their character 4-grams, hashed with signs into a fixed number of
dimensions (Weinberger et al. 2009). Page vectors do not depend on the corpus, so adding a page changes no other; how
rare a feature is enters on the query's side, from document frequencies kept with the index. It forgives what full text
search does not: inflection, compounds, misread characters.
"""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from visor_core.index.embedders.base import PageInput, Vector

_VERSION = 2
_WORD = re.compile(r"[^\W_]+")
_STOP = frozenset(
    _WORD.findall(
        "a an and are as at be by did do does for from has have how in is it its of on or than that the their then "
        "there these this those to was were what when where which who why will with"
    )
)


class HashEmbedder:
    """`hash` or `hash:DIMENSION`."""

    name = "hash"
    multi_vector = False
    embeds_pictures = False

    def __init__(self, dimension: int = 1024, ngram: int = 4) -> None:
        self.dimension, self._ngram = dimension, ngram
        self.spec = "hash" if dimension == 1024 else f"hash:{dimension}"
        self.fingerprint = hashlib.sha256(f"hash {_VERSION} {dimension} {ngram}".encode()).hexdigest()[:16]

    def embed_pages(self, pages: Sequence[PageInput]) -> list[Vector]:
        """Text only; a page without text is all zeros and found by no query."""
        return [self._vector(f"{page.context}\n{page.text}" if page.text.strip() else "") for page in pages]

    def embed_query(self, query: str, statistics: Vector | None = None) -> Vector:
        """The query's features, weighted by how rare each is in the index."""
        vector = self._vector(query)
        if statistics is not None:
            vector = vector * statistics
        norm = float(np.linalg.norm(vector))
        return (vector / norm).astype(np.float32) if norm > 0 else vector

    def statistics(self, vectors: Iterable[Vector]) -> Vector | None:
        """Inverse document frequency of every dimension, (D,)."""
        count, frequency = 0, np.zeros(self.dimension, dtype=np.float64)
        for vector in vectors:
            frequency += np.abs(vector) > 0
            count += 1
        weights = np.log1p((count - frequency + 0.5) / (frequency + 0.5))
        return (weights**2).astype(np.float32)

    def _vector(self, text: str) -> Vector:
        counts: Counter[str] = Counter()
        for word in _WORD.findall(text.lower()):
            if word in _STOP:
                continue
            counts[f"w:{word}"] += 1
            marked = f"<{word}>"
            for start in range(max(1, len(marked) - self._ngram + 1)):
                counts[marked[start : start + self._ngram]] += 1
        vector = np.zeros(self.dimension, dtype=np.float32)
        for feature, count in counts.items():
            code = zlib.crc32(feature.encode())
            sign = 1.0 if code & 1 else -1.0
            weight = 2.0 if feature.startswith("w:") else 1.0
            vector[(code >> 1) % self.dimension] += sign * weight * (1.0 + math.log(count))
        norm = float(np.linalg.norm(vector))
        return vector / norm if norm > 0 else vector
