"""One figure of two sides on the same questions: the difference, its tests, and who won how often.

With one seed the questions are the unit: a percentile bootstrap, a sign-flip test, and McNemar's exact test where the
figure is a yes or no. With several seeds the seed is the cluster: Student's t on the seeds' mean differences, since
questions pooled without regard to seeds find gains that are none (`statistics.cluster_t_test`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from visor_core.evaluation.statistics import PairedTest, cluster_t_test, limits, mcnemar, paired_difference

UNPAIRED = PairedTest(math.nan, math.nan, math.nan, math.nan, 0)
"""What is known of two sides without a question in common."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """The second side against the first.

    `test` is second minus first. `mcnemar` is NaN where the figure is no yes or no, or where seeds are the clusters.
    `wins` and `losses` count questions on which the second is higher, and lower. `corrected` is Holm's p-value of the
    pairing among those it was made with; NaN until it is corrected, and where there is no p-value.
    """

    test: PairedTest
    mcnemar: float
    wins: int
    losses: int
    corrected: float = math.nan

    @property
    def p_value(self) -> float:
        """The p-value that is reported and corrected: McNemar's where it applies, else that of `test`."""
        return self.test.p_value if math.isnan(self.mcnemar) else self.mcnemar

    @property
    def ties(self) -> int:
        """Questions on which both sides are equal."""
        return self.test.count - self.wins - self.losses


NOT_TESTED = Pairing(UNPAIRED, math.nan, 0, 0)


def pair(
    first: Sequence[float], second: Sequence[float], seeds: Sequence[Hashable], *, yes_or_no: bool = False
) -> Pairing:
    """Test second against first, question by question.

    Args:
        first, second: values of the same questions in the same order.
        seeds: the seed each question was played with; several different ones are clusters.
        yes_or_no: whether the values are 0 and 1.

    Raises:
        ValueError: if the sequences differ in length.
    """
    wins = sum(b > a for a, b in zip(first, second, strict=True))
    losses = sum(b < a for a, b in zip(first, second, strict=True))
    if not first:
        return NOT_TESTED
    if len(set(seeds)) > 1:
        differences = [b - a for a, b in zip(first, second, strict=True)]
        return Pairing(cluster_t_test(differences, seeds), math.nan, wins, losses)
    exact = mcnemar([bool(a) for a in first], [bool(b) for b in second]) if yes_or_no else math.nan
    return Pairing(paired_difference(first, second), exact, wins, losses)


def in_words(pairing: Pairing) -> str:
    """A difference with its interval and p-values."""
    test = pairing.test
    if not test.count:
        return "no question in common"
    if math.isnan(pairing.p_value):
        return f"{test.difference:+.3f} in every seed: no scatter to test against"
    corrected = "" if math.isnan(pairing.corrected) else f", Holm {p_text(pairing.corrected)}"
    return f"{test.difference:+.3f} {limits(test, '+')}, p {p_text(pairing.p_value)}{corrected}"


def p_text(value: float) -> str:
    """A p-value to three digits; one below them as a bound."""
    return "–" if math.isnan(value) else "< .001" if value < 0.001 else f"{value:.3f}"
