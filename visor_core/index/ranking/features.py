"""Features of candidate pages for a question: what the rankings gave, what the pages say, which document is named.

Every feature is scaled to about 0–1 within one search, so that the same weights serve small and large corpora.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from visor_core.index.ranking.facts import PageFacts
from visor_core.index.ranking.naming import Named
from visor_core.index.ranking.wording import Wording
from visor_core.index.records import split_page_id

Matrix = npt.NDArray[np.float32]
NAMES = (
    "text",
    "text rank",
    "passages",
    "passages rank",
    "words",
    "phrases",
    "section",
    "place",
    "page number",
    "year",
    "number",
    "figures where asked",
    "document named",
    "document's time",
    "document",
    "neighbour",
)
"""What the columns are, in the order in which `features` reckons them."""
_TOP = 3
"""Pages of a document whose scores stand for it."""
_RANK = 5.0


def features(
    question: Wording,
    pages: Sequence[str],
    scores: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, PageFacts],
    named: Named,
) -> Matrix:
    """(N, F) features of the candidates `pages`, in the order of `NAMES`.

    Args:
        question: as read.
        pages: page ids.
        scores: of the rankings `text` and `passages`, by page id; a page that is in none of them has none.
        facts: of every page.
        named: what the question says of documents.
    """
    rarity = _rarity(question, [facts[page_id] for page_id in pages])
    ranked = {name: _scaled(scores.get(name, {}), pages) for name in ("text", "passages")}
    places = {name: _places(scores.get(name, {}), pages) for name in ("text", "passages")}
    documents = [split_page_id(page_id) for page_id in pages]
    both = ranked["text"] + ranked["passages"]
    columns = [
        ranked["text"],
        places["text"],
        ranked["passages"],
        places["passages"],
        [_share(question.terms, facts[p].terms, rarity) for p in pages],
        [_phrases(question, facts[p], rarity) for p in pages],
        [_share(question.terms, facts[p].section, rarity) for p in pages],
        [float(any(_within(place, facts[p]) for place in question.places)) for p in pages],
        [float(number in question.pages) for _, number in documents],
        [float(any(str(year) in facts[p].terms for year in question.years)) for p in pages],
        [float(any(number in facts[p].terms for number in question.numbers)) for p in pages],
        [min(1.0, 2.5 * facts[p].digits) * question.amount for p in pages],
        [named.meant.get(document, 0.0) for document, _ in documents],
        [named.time.get(document, 0.0) for document, _ in documents],
        _document_scores(both, documents),
        _neighbours(both, documents),
    ]
    return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)


def _rarity(question: Wording, facts: Sequence[PageFacts]) -> dict[str, float]:
    """What each term of the question tells among the candidates: less, the more of them have it."""
    count = len(facts)
    return {
        term: math.log1p((count + 0.5) / (sum(term in fact.terms for fact in facts) + 0.5)) for term in question.terms
    }


def _share(asked: Sequence[str], held: frozenset[str], rarity: Mapping[str, float]) -> float:
    """Share of what the question's terms tell that is held."""
    total = sum(rarity[term] for term in asked)
    return sum(rarity[term] for term in asked if term in held) / total if total else 0.0


def _phrases(question: Wording, fact: PageFacts, rarity: Mapping[str, float]) -> float:
    """Share of the question's neighbouring terms that are neighbours on the page, weighed by what they tell."""
    weights = {pair: rarity.get(pair[0], 0.0) + rarity.get(pair[1], 0.0) for pair in question.pairs}
    total = sum(weights.values())
    return sum(weight for pair, weight in weights.items() if fact.beside(pair)) / total if total else 0.0


def _within(place: tuple[str, ...], fact: PageFacts) -> bool:
    return set(place) <= fact.terms and all(map(fact.beside, pairwise(place)))


def _scaled(scores: Mapping[str, float], pages: Sequence[str]) -> npt.NDArray[np.float32]:
    best = max(scores.values(), default=0.0)
    return np.array([scores.get(page_id, 0.0) / best if best else 0.0 for page_id in pages], np.float32)


def _places(scores: Mapping[str, float], pages: Sequence[str]) -> list[float]:
    """By rank: 1 for the first, falling by half until the fifth; 0 for a page that is not ranked."""
    order = {i: n for n, i in enumerate(sorted(scores, key=lambda i: (-scores[i], i)))}
    return [_RANK / (_RANK + order[page_id]) if page_id in order else 0.0 for page_id in pages]


def _document_scores(scores: npt.NDArray[np.float32], documents: Sequence[tuple[str, int]]) -> list[float]:
    """Mean of the best pages of each page's document, over the best document's."""
    of_document: dict[str, list[float]] = {}
    for score, (document, _) in zip(scores.tolist(), documents, strict=True):
        of_document.setdefault(document, []).append(score)
    means = {d: sum(sorted(found, reverse=True)[:_TOP]) / _TOP for d, found in of_document.items()}
    best = max(means.values(), default=0.0)
    return [means[document] / best if best else 0.0 for document, _ in documents]


def _neighbours(scores: npt.NDArray[np.float32], documents: Sequence[tuple[str, int]]) -> list[float]:
    """The better score of the pages before and after, if they are candidates."""
    held = dict(zip(documents, scores.tolist(), strict=True))
    best = max(held.values(), default=0.0) or 1.0
    return [max(held.get((d, n - 1), 0.0), held.get((d, n + 1), 0.0)) / best for d, n in documents]
