"""Which of several episodes of a question answers it: scorers over their features, and the choice.

A scorer gives every episode a number; the highest answers, the earliest of equals. An episode without an answer is
never chosen over one with an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from visor_core.verification.features import Described, Features, among

Scorer = Callable[[Features], float]
"""A number for one episode's features; higher speaks more for its answer."""
UNKNOWN = 0.5
"""What stands for a feature that is not known: neither for nor against."""


def known(value: float) -> float:
    """A feature, or `UNKNOWN` where it is NaN."""
    return UNKNOWN if math.isnan(value) else value


def combined(of: Features) -> float:
    """Agreement, evidence coverage and verdicts at equal weight, halved for an answer that was forced."""
    total = known(of.agreement) + known(of.coverage) + known(of.kept)
    return total / 3 * (1.0 if of.finished else 0.5)


SCORERS: Mapping[str, Scorer] = {
    "first": lambda of: 0.0,
    "agreement": lambda of: known(of.agreement),
    "evidence": lambda of: known(of.coverage) + known(of.cited_coverage),
    "verdicts": lambda of: known(of.kept) + known(of.unrejected),
    "confidence": lambda of: known(of.confidence),
    "combined": combined,
}
"""The scorers that need no fitting. `first` is a single episode: the floor of every comparison."""


def choose(episodes: Sequence[Described], scorer: Scorer) -> int:
    """The position of the episode that answers, among episodes of one question.

    Raises:
        ValueError: without an episode.
    """
    if not episodes:
        raise ValueError("there is no episode to choose from")
    numbers = [scorer(of) for of in among(episodes)]
    return max(range(len(episodes)), key=lambda i: (bool(episodes[i].form), numbers[i], -i))
