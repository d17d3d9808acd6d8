"""Candidates of a query: every ranking that the tables can give, each a few dozen pages with their scores.

Full text over whole pages and over their passages, and every vector column. What becomes of them is `ranking`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import numpy as np

from visor_core.errors import SearchIndexError
from visor_core.index.embedders import Embedder, load_embedder
from visor_core.index.embedders.base import column_of
from visor_core.index.embedders.hashing import HashEmbedder
from visor_core.index.indexes import NGRAM
from visor_core.index.nearest import nearest
from visor_core.index.passages import normalised
from visor_core.index.ranking.wording import also_asked
from visor_core.index.rarity import Rarity, grams, read_rarity
from visor_core.index.tags import Manifest, VectorColumn
from visor_core.index.terms import content_words, query_terms

Mode = Literal["text", "vector", "hybrid"]
Scored = list[tuple[str, float]]
"""Page ids with their scores, best first, each once."""
POSTINGS = {"page_texts": 3.0, "passages": 2.0}
"""Postings a page of the corpus that a query may cost in each text table. Chosen on half of the documents of
bench_recall without OCR, where both rankings fused had recall@5 .408 of .412 without a bound, .402 at 2 and .381 at 1;
on the other half .478 of .480, .477 and .473. Passages lost nothing at 2."""
_NO_HELP = frozenset({HashEmbedder.name})
"""Embedders that only the mode `vector` asks: beside full text, hashed words find no page more and lose some
(bench_recall, on documents that nothing was chosen on)."""
_APART = "|"
"""Stands between n-grams of a query, and in no page's text: an n-gram across it is on no page and costs nothing."""


class CandidateSearch:
    """Finds the candidates in one tagged state of a corpus. Safe for threads."""

    def __init__(
        self, root: Path, manifest: Manifest, tables: Mapping[str, Any], embedders: Sequence[Embedder], device: str
    ) -> None:
        self._root, self._manifest, self._tables, self._device = root, manifest, tables, device
        self._embedders = {column_of(e): e for e in embedders}
        self._statistics: dict[str, np.ndarray | None] = {}
        self._rarity: Rarity | None = None
        self._lock = threading.RLock()

    def of(self, query: str, mode: Mode) -> Callable[[int, str], dict[str, Scored]]:
        """How to find the candidates of a query, which is cut and embedded once: (depth, condition) → the rankings of
        the mode by name, each of at most `depth` pages.

        `condition` is an SQL filter over the tables pages and passages, "" for none; the search raises a
        SearchIndexError if the tables cannot be searched.

        Args:
            query: words, at least one character.
            mode: `text`, `vector` or `hybrid`.

        Raises:
            SearchIndexError: if the mode is `vector` and the corpus has no vectors, or an embedder cannot be loaded.
        """
        if mode == "vector" and not self._manifest.vectors:
            raise SearchIndexError(
                f"corpus {self._root.name!r} has no vectors to search by: search it with the mode hybrid, or give it "
                f"some, as with `visor ingest --corpus {quote(self._root.name)} --set 'index.embedders=[hash]'`"
            )
        searches: dict[str, Callable[[int, str], Scored]] = {}
        languages = self._manifest.settings["languages"]
        asked = " ".join([query, *also_asked(query)])
        words = content_words(asked, languages)
        if mode != "vector" and words:
            whole = self._affordable("page_texts", grams(normalised(" ".join(words)), NGRAM))
            cut = self._affordable("passages", query_terms(asked, languages))
            searches["text"] = partial(self._text, "page_texts", _APART.join(whole))
            searches["passages"] = partial(self._text, "passages", " ".join(cut))
        if mode != "text":
            for vector in self._manifest.vectors:
                if mode == "hybrid" and vector.name in _NO_HELP:
                    continue
                embedded = self.embedder(vector).embed_query(query, self._statistics_of(vector))
                searches[vector.column] = partial(self._vector, vector, np.asarray(embedded))

        def find(depth: int, condition: str) -> dict[str, Scored]:
            # The rankings are LanceDB's work, which holds no lock of Python's: at once they take as long as the
            # longest.
            with ThreadPoolExecutor(max(1, len(searches)), "search") as threads:
                found = threads.map(lambda search: search(depth, condition), searches.values())
                return dict(zip(searches, found, strict=True))

        return find

    def _affordable(self, table: str, terms: Sequence[str]) -> list[str]:
        """The terms of a query that are searched for in a table."""
        with self._lock:
            if self._rarity is None:
                self._rarity = read_rarity(self._root / "statistics" / self._manifest.rarity)
        return self._rarity.affordable(table, terms, POSTINGS[table])

    def _text(self, table: str, query: str, depth: int, condition: str) -> Scored:
        """Pages by BM25 over the texts of a table; a page scores as its best row.

        Args:
            depth: most pages; of passages twice as many are asked for, since several may be of one page.
        """
        request = self._tables[table].search(query, query_type="fts", fts_columns="text")
        request = request.select(["page_id", "_score"]).limit(depth if table == "page_texts" else 2 * depth)
        if condition:
            request = request.where(condition, prefilter=True)
        try:
            found = request.to_arrow()
        except (ValueError, RuntimeError) as error:
            raise SearchIndexError(f"the query {query[:80]!r} cannot be searched: {str(error)[:200]}") from error
        best: dict[str, float] = {}
        for page_id, score in zip(found["page_id"].to_pylist(), found["_score"].to_pylist(), strict=True):
            best[page_id] = max(best.get(page_id, 0.0), score)
        return sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:depth]

    def _vector(self, vector: VectorColumn, query: np.ndarray, depth: int, condition: str) -> Scored:
        """Pages by cosine or exact MaxSim."""
        if not np.any(query):
            return []
        return nearest(self._tables["pages"], self._manifest, vector, query, depth, condition)

    def embedder(self, vector: VectorColumn) -> Embedder:
        """The embedder of a vector column, for queries; loaded when first needed.

        Raises:
            SearchIndexError: if it is not the one the index was built with.
        """
        with self._lock:
            embedder = self._embedders.get(vector.column)
            if embedder is None:
                embedder = self._embedders[vector.column] = load_embedder(vector.spec, device=self._device)
        if embedder.fingerprint != vector.fingerprint:
            raise SearchIndexError(
                f"index {self._manifest.tag!r} was built with another version of the embedder {vector.spec}: build it "
                "again"
            )
        return embedder

    def _statistics_of(self, vector: VectorColumn) -> np.ndarray | None:
        if vector.column not in self._statistics:
            weights = None
            if vector.statistics:
                path = self._root / "statistics" / vector.statistics
                if not path.is_file():
                    raise SearchIndexError(
                        f"index {self._manifest.tag!r} lacks {path.name} of {vector.name}: build it again"
                    )
                weights = np.frombuffer(path.read_bytes(), dtype=np.float32)
            self._statistics[vector.column] = weights
        return self._statistics[vector.column]
