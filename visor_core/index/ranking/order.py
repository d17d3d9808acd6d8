"""The order of a search's pages: rankings of the candidates, the learnt order of the first of them, their fusion."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visor_core.index.fusion import reciprocal_rank_fusion
from visor_core.index.passages import mentioned_pages
from visor_core.index.ranking.facts import PageFacts
from visor_core.index.ranking.features import NAMES, Matrix, features
from visor_core.index.ranking.naming import Named
from visor_core.index.ranking.reranker import relevance
from visor_core.index.ranking.wording import Wording
from visor_core.index.records import Document, page_id_of, split_page_id

WEIGHTS = {"text": 2.0}
"""Weights of the rankings in the fusion, 1 where none is given; chosen on half of the documents of bench_recall."""
READ = ("text", "passages")
"""Rankings by what pages say, which the learnt order stands for."""
LEARNT = 3.0
"""Weight of the learnt order beside vector columns: that of the rankings it stands for."""
RERANKED = 50
"""Candidates that the learnt order reads."""

Candidates = Mapping[str, Sequence[tuple[str, float]]]
"""Scored pages by ranking, best first."""


def rankings_of(query: str, candidates: Candidates, restricted: Iterable[Document] = ()) -> dict[str, list[str]]:
    """Page ids by ranking: those of the candidates, and `number`, the pages whose number the query names.

    Args:
        query: as it was asked.
        candidates: scored pages by ranking, best first.
        restricted: documents that the search is restricted to, whose pages of a named number need not be candidates.
    """
    rankings = {name: [page_id for page_id, _ in scored] for name, scored in candidates.items()}
    if numbers := mentioned_pages(query):
        found = [page_id for page_id, _ in fused(rankings) if split_page_id(page_id)[1] in numbers]
        pages = [
            page_id_of(document.document_id, number)
            for document in restricted
            for number in sorted(numbers)
            if document.status == "ok" and 0 < number <= document.num_pages
        ]
        rankings["number"] = list(dict.fromkeys([*found, *pages]))
    return rankings


def together(everywhere: Candidates, inside: Candidates) -> dict[str, list[tuple[str, float]]]:
    """Candidates of all documents and of those that a question names, as one; a page keeps its better score."""
    joined = {}
    for name in dict.fromkeys([*everywhere, *inside]):
        best: dict[str, float] = {}
        for page_id, score in (*everywhere.get(name, ()), *inside.get(name, ())):
            best[page_id] = max(best.get(page_id, score), score)
        joined[name] = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))
    return joined


def first_candidates(
    rankings: Mapping[str, Sequence[str]], meant: Container[str] = (), most: int = RERANKED
) -> list[str]:
    """The candidates that the learnt order reads: half of them, if there are, in documents that the question names.

    Args:
        rankings: page ids by ranking.
        meant: ids of those documents.
        most: candidates.
    """
    order = [page_id for page_id, _ in fused({name: rankings[name] for name in (*READ, "number") if name in rankings})]
    inside = [page_id for page_id in order if split_page_id(page_id)[0] in meant][: most // 2]
    taken = set(inside)
    return inside + [page_id for page_id in order if page_id not in taken][: most - len(inside)]


@dataclass(frozen=True)
class Ranked:
    """What a search knows before it cuts: the rankings, and the first candidates with their features, (N, F)."""

    rankings: dict[str, list[str]]
    first: Sequence[str]
    features: Matrix

    def learnt(self) -> list[str]:
        """The first candidates by the learnt reranker, best first."""
        scores = relevance(self.features).tolist()
        return [page_id for _, page_id in sorted(zip((-score for score in scores), self.first, strict=True))]

    def order(self, *, vectors: bool = True) -> list[tuple[str, float]]:
        """The order that a search returns, with scores: the learnt one, the candidates that it did not read, and the
        vector columns."""
        read = {n: r for n, r in self.rankings.items() if n in (*READ, "number")}
        learnt = self.learnt()
        known = set(learnt)
        order = [*learnt, *(page_id for page_id, _ in fused(read) if page_id not in known)]
        others = {n: r for n, r in self.rankings.items() if n not in read} if vectors else {}
        return reciprocal_rank_fusion({"learnt": order, **others}, {"learnt": LEARNT})


NOTHING = Ranked({}, (), np.zeros((0, len(NAMES)), np.float32))
"""What a query without words finds."""


def ranked(
    question: Wording,
    candidates: Candidates,
    rankings: dict[str, list[str]],
    named: Named,
    facts: Callable[[Sequence[str]], Mapping[str, PageFacts]],
) -> Ranked:
    """Read the first candidates.

    Args:
        question: as read.
        candidates: scored pages by ranking.
        rankings: of those, as `rankings_of` gives them.
        named: what the question says of documents.
        facts: page ids → what the ranking reads of those pages.
    """
    first = first_candidates(rankings, named.meant)
    scores = {name: dict(candidates.get(name, ())) for name in READ}
    found = features(question, first, scores, facts(first), named) if first else NOTHING.features
    return Ranked(rankings, first, found)


def fused(rankings: Mapping[str, Sequence[str]]) -> list[tuple[str, float]]:
    """One ranking of all pages, with scores."""
    return reciprocal_rank_fusion(rankings, WEIGHTS)
