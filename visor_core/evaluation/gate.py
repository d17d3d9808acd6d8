"""Who becomes champion: one decision over outcomes on the same questions, as a pure function.

Outcomes are supported success by question, of episodes that came to an end; two policies are compared on the questions
that both finished, by the paired interval and test of `statistics`. A new checkpoint replaces the reigning one only if
it is significantly better, or if it is not worse beyond the interval and the reigning one's upstream is out of date.
Whatever is worse than the warm start (SFT) beyond the interval is never crowned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from visor_core.evaluation.results import BenchmarkResult
from visor_core.evaluation.statistics import PairedTest, limits, paired_difference

Outcomes = Mapping[str, bool]
"""Question id → right with all evidence."""
SIGNIFICANT = 0.05
REIGNING = "reigning"
"""The name of the reigning champion among those evaluated."""
NONE = PairedTest(math.nan, math.nan, math.nan, math.nan, 0)
"""What is known of two policies that finished no question both."""


@dataclass(frozen=True, slots=True)
class Decision:
    """`crowned` names the candidate that becomes champion, "" where the reigning one stays; `reason` says why.

    `candidate` is the one that was put up, `against` how it compares with the reigning champion.
    """

    crowned: str
    candidate: str
    reason: str
    against: PairedTest = field(default=NONE)


def compared(first: Outcomes, second: Outcomes) -> PairedTest:
    """Second minus first on the questions that both finished."""
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return NONE
    return paired_difference([float(first[q]) for q in shared], [float(second[q]) for q in shared])


def is_better(test: PairedTest) -> bool:
    """Whether the second is significantly better: beyond the interval, and by the test."""
    return test.low > 0 and test.p_value < SIGNIFICANT


def is_worse(test: PairedTest) -> bool:
    """Whether the second is worse beyond the interval; unknown where nothing was compared, which counts as worse."""
    return not test.count or test.high < 0


def share(outcomes: Outcomes) -> float:
    """Supported success; 0 of no episodes."""
    return sum(outcomes.values()) / len(outcomes) if outcomes else 0.0


def put_up(candidates: Mapping[str, Outcomes], warm_start: str) -> str:
    """The candidate with the highest supported success that is not worse than the warm start; the last of equals."""
    base = candidates[warm_start]
    eligible = [n for n, o in candidates.items() if n == warm_start or not is_worse(compared(base, o))]
    return max(reversed(eligible), key=lambda name: share(candidates[name]))


def decide(
    candidates: Mapping[str, Outcomes],
    reigning: Outcomes | None,
    *,
    warm_start: str,
    reigns: str = "",
    out_of_date: bool = False,
) -> Decision:
    """Whether one of today's checkpoints replaces the reigning champion.

    Args:
        candidates: outcomes of today's checkpoints by name, the preferred of equals last.
        reigning: outcomes of the reigning champion on today's index and questions; None if there is none.
        warm_start: the candidate that is SFT's.
        reigns: the candidate that is the reigning champion itself; "" where it is another checkpoint.
        out_of_date: whether what the reigning champion was made from has changed since.
    """
    best = put_up(candidates, warm_start)
    if reigning is None:
        return Decision(best, best, "there was no champion")
    if best == reigns:
        return Decision("", best, "the best of today's checkpoints is the champion")
    test = compared(reigning, candidates[best])
    if not test.count:
        return Decision("", best, "no question was finished by both it and the reigning champion", test)
    told = f"{test.difference:+.3f} {limits(test, '+')} on {test.count} questions, p {test.p_value:.3f}"
    if is_better(test):
        return Decision(best, best, f"significantly better than the reigning champion: {told}", test)
    if is_worse(test):
        return Decision("", best, f"worse than the reigning champion: {told}", test)
    if out_of_date:
        return Decision(
            best, best, f"not worse than the reigning champion, whose upstream is out of date: {told}", test
        )
    return Decision("", best, f"not significantly better than the reigning champion: {told}", test)


def outcomes_of(result: BenchmarkResult) -> dict[str, bool]:
    """Supported success by question, of the episodes that came to an end and have a score."""
    return {row.question_id: row.supported for row in result.scored}


def fall(before: BenchmarkResult, now: BenchmarkResult) -> str:
    """How supported success fell beyond its interval since an earlier evaluation of the policy; "" if it did not."""
    test = compared(outcomes_of(before), outcomes_of(now))
    if test.count:
        told = f"{test.difference:+.3f} {limits(test, '+')} on {test.count} questions of both benchmarks"
        return told if is_worse(test) else ""
    earlier, later = before.supported_success, now.supported_success
    return f"{later.estimate:.3f}, before {earlier}, on other questions" if later.estimate < earlier.low else ""
