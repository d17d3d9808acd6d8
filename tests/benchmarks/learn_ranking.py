"""Learns the weights of the reranker on made reports and writes them into the package: `make ranker`.

Listwise logistic regression (Cao et al. 2007, ListNet's top-one probability) over the first candidates of each
question, asked of the whole corpus and within its document, held near the prior by a quadratic penalty. Half of
the companies are learnt from; `bench_recall` tells what it is worth on the other half.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.benchmarks.reports.indexed import open_reports
from tests.benchmarks.reports.words import halved
from visor_core.config import IndexConfig
from visor_core.index import PageIndex
from visor_core.index.filters import Filters
from visor_core.index.ranking import reranker
from visor_core.index.ranking.features import NAMES
from visor_core.questions import Question

HELD = 0.3
"""Strength of the penalty that holds the weights near the prior."""
STEPS, RATE = 300, 0.05

Lists = list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
"""Per question the features of its candidates, (N, F), and which of them are gold, (N,)."""


def lists_of(index: PageIndex, questions: Sequence[Question]) -> Lists:
    """What is learnt from: questions some but not all of whose candidates are gold."""
    lists: Lists = []
    for question in questions:
        for document in (None, question.metadata["document_id"]):
            found = index.ranked(question.question, 50, "text", Filters(document=document))
            gold = np.array([page_id in question.gold_pages for page_id in found.first], np.float32)
            if 0 < gold.sum() < len(gold):
                lists.append((found.features, gold / gold.sum()))
    return lists


def learn(lists: Lists, prior: npt.NDArray[np.float32], held: float = HELD) -> npt.NDArray[np.float32]:
    """The weights, (F,), that minimise the cross entropy of the gold pages, by Adam's steps from the prior."""
    weights = prior.astype(np.float64)
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, STEPS + 1):
        gradient = held * (weights - prior)
        for features, gold in lists:
            scores = features @ weights
            chances = np.exp(scores - scores.max())
            gradient += features.T @ (chances / chances.sum() - gold) / len(lists)
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        weights -= RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
    return weights.astype(np.float32)


def main() -> None:
    """Learn, and write the weights beside the module that reads them."""
    parser = argparse.ArgumentParser(prog="make ranker", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("VISOR_HOME", ".visor")))
    home = parser.parse_args().home
    index, questions = open_reports(home / "bench" / "corpora", IndexConfig(embedders=("hash",)))
    lists = lists_of(index, [question for question in questions if halved(question.metadata["company"])])
    found = learn(lists, reranker.prior())
    told = {
        "learnt_on": f"{len(lists)} lists of candidates of made reports",
        "weights": {name: round(float(weight), 3) for name, weight in zip(NAMES, found, strict=True)},
    }
    target = Path(reranker.__file__).with_name(reranker.WEIGHTS_FILE)
    target.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
