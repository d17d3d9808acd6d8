"""What a benchmark itself reports of answers: its accuracy, and its other figures under its own names.

MMLongBench-Doc's and LongDocURL's accuracy is the mean score; MADQA's is the share of answers with an ANLS* of at least
0.5; elsewhere it is the share of answers that are fully right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from visor_core.evaluation.statistics import Interval, bootstrap_mean, wilson
from visor_core.scoring import anls_star
from visor_core.scoring.mmlongbench import mmlongbench_f1

if TYPE_CHECKING:
    from visor_core.evaluation.results import EpisodeResult

MEAN = ("mmlongbench", "longdocurl")
"""Benchmarks whose accuracy is the mean score."""


def accuracy(benchmark: str, scores: Sequence[float], *, seed: int = 0) -> Interval:
    """What a benchmark calls accuracy: a mean with a bootstrap interval, or a share with Wilson's; NaN of no score."""
    if benchmark in MEAN:
        return bootstrap_mean(scores, seed=seed)
    least = anls_star.RIGHT if benchmark == "madqa" else 1.0
    return wilson(sum(score >= least for score in scores), len(scores))


def published(benchmark: str, rows: Sequence[EpisodeResult]) -> dict[str, float]:
    """The figures that a benchmark itself reports, by its names, over episodes that have a score.

    MMLongBench-Doc's and LongDocURL's accuracy and F1, SlideVQA's EM and F1, MADQA's accuracy and mean ANLS*; none for
    other question sets.
    """
    scores = [(row.score or 0.0, row.answerable, row.refused) for row in rows]
    if not scores:
        return {}
    mean = sum(score for score, _, _ in scores) / len(scores)
    if benchmark in MEAN:
        return {"accuracy": mean, "F1": mmlongbench_f1(scores)}
    if benchmark == "slidevqa":
        return {"EM": mean, "F1": sum(row.f1 or 0.0 for row in rows) / len(rows)}
    if benchmark == "madqa":
        return {"accuracy": accuracy(benchmark, [score for score, _, _ in scores]).estimate, "ANLS": mean}
    return {}
