"""A scorer whose weights are fitted: logistic regression of "the answer is right" on the features of an episode.

What is fitted on a question never judges it: `crossed` fits one scorer a fold of questions and judges every question
by the scorer of the other folds, so that its figures are held out.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from visor_core.errors import DataError
from visor_core.files import write_json
from visor_core.verification.features import NAMES, Features, as_row

FOLDS = 5


@dataclass(frozen=True, slots=True)
class LearntScorer:
    """Weights of the standardised features and their unknown marks; `means` stand for what is not known.

    `weights` has 2 · F + 1 values: one a feature, one a mark "this feature is not known", and the intercept.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    questions: int

    def __call__(self, of: Features) -> float:
        """Probability that the answer is right."""
        row = _inputs(np.array([as_row(of)]), np.array(self.means), np.array(self.scales))[0]
        return 1 / (1 + math.exp(-float(row @ np.array(self.weights[:-1]) + self.weights[-1])))

    def save(self, path: Path) -> None:
        """Write the weights as JSON."""
        write_json(path, asdict(self))


def read_scorer(path: Path) -> LearntScorer:
    """Read what `LearntScorer.save` wrote.

    Raises:
        DataError: naming the file, if it is missing, damaged or of other features.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        names, means, scales, weights = (tuple(data[part]) for part in ("names", "means", "scales", "weights"))
        scorer = LearntScorer(names, means, scales, weights, data["questions"])
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no learnt scorer ({error}): make one with `visor best-of --learn`") from error
    if scorer.names != NAMES or len(scorer.weights) != 2 * len(NAMES) + 1:
        raise DataError(f"{path} was fitted on other features: make it again with `visor best-of --learn`")
    return scorer


def fit(examples: Sequence[tuple[Features, bool]], questions: int) -> LearntScorer:
    """Fit on episodes whose outcome is known.

    Args:
        questions: of how many questions the episodes are; recorded.

    Raises:
        DataError: if all outcomes are the same: nothing tells right from wrong.
    """
    outcomes = np.array([right for _, right in examples])
    if not examples or outcomes.all() or not outcomes.any():
        raise DataError("a scorer is learnt from right and wrong answers, and all of these are the same: use more")
    rows = np.array([as_row(of) for of, _ in examples])
    marked = np.isfinite(rows)
    count = np.maximum(marked.sum(axis=0), 1)
    means = np.where(marked, rows, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(marked, rows - means, 0.0) ** 2).sum(axis=0) / count)
    scales = np.where(spread > 0, spread, 1.0)
    model = LogisticRegression(C=1.0, max_iter=1000).fit(_inputs(rows, means, scales), outcomes)
    weights = (*model.coef_[0].tolist(), float(model.intercept_[0]))
    return LearntScorer(NAMES, tuple(means.tolist()), tuple(scales.tolist()), weights, questions)


def crossed(examples: Sequence[tuple[str, Features, bool]], folds: int = FOLDS) -> list[LearntScorer]:
    """One scorer a fold of questions, fitted on the questions of all other folds; `fold_of` names a question's own.

    Args:
        examples: (question id, features, whether the answer is right).

    Raises:
        DataError: if the others of some fold hold right answers only, or wrong ones only.
    """
    scorers = []
    for fold in range(folds):
        others = [(name, of, right) for name, of, right in examples if fold_of(name, folds) != fold]
        scorers.append(fit([(of, right) for _, of, right in others], len({name for name, _, _ in others})))
    return scorers


def fold_of(question_id: str, folds: int = FOLDS) -> int:
    """The fold of a question: by its id, so that it is the same in every set it stands in."""
    return zlib.crc32(question_id.encode()) % folds


def _inputs(rows: NDArray[np.float64], means: NDArray[np.float64], scales: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standardised features with 0 where unknown, then a mark for every unknown one. Shape (N, 2 · F)."""
    unknown = ~np.isfinite(rows)
    return np.hstack([np.where(unknown, 0.0, (rows - means) / scales), unknown.astype(np.float64)])
