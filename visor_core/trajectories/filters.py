"""Which episodes are worth training on: correct, structurally valid, evidence found, of a wanted length, balanced.

Source: VISOR (kept if correct and structurally valid), SCoRE (and if the gold pages are a subset of the ledger; 2–6
steps, balanced). Every rejected episode is counted under the first reason that applies.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from visor_core.agent.trajectory import Trajectory
from visor_core.scoring.answers import answer_score

CORRECT_SCORE = 0.999
"""An answer counts as correct from this score on."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """What was kept, and how many were left out for each reason."""

    kept: tuple[Trajectory, ...]
    rejected: dict[str, int] = field(default_factory=dict)


def is_correct(trajectory: Trajectory) -> bool:
    """Whether the answer is right by the rule of its benchmark; never where none is published."""
    return (answer_score(trajectory.question, trajectory.answer) or 0.0) >= CORRECT_SCORE


def gold_in_ledger(trajectory: Trajectory) -> bool:
    """Whether every gold page has a standing ledger entry (SCoRE); by the pages shown where no ledger is kept."""
    noted = {e.page_id for e in trajectory.standing_evidence} if trajectory.evidence else set(trajectory.pages_seen)
    return set(trajectory.question.gold_pages) <= noted


def reason_against(
    trajectory: Trajectory,
    *,
    min_steps: int = 2,
    max_steps: int = 6,
    correct: Callable[[Trajectory], bool] = is_correct,
) -> str:
    """Why an episode is not kept; empty if it is.

    Steps are the turns the policy wrote itself: neither forced answers nor the environment's own first search.
    """
    steps = sum(not turn.forced for turn in trajectory.turns)
    if trajectory.outcome != "answered":
        return trajectory.outcome
    if not trajectory.well_formed:
        return "malformed"
    if steps < min_steps:
        return "too short"
    if steps > max_steps:
        return "too long"
    if not correct(trajectory):
        return "wrong answer"
    if not gold_in_ledger(trajectory):
        return "gold page not in the ledger"
    return ""


def keep_good(
    trajectories: Iterable[Trajectory],
    *,
    min_steps: int = 2,
    max_steps: int = 6,
    correct: Callable[[Trajectory], bool] = is_correct,
) -> Filtered:
    """Episodes with nothing against them, in order."""
    kept = []
    rejected: Counter[str] = Counter()
    for trajectory in trajectories:
        reason = reason_against(trajectory, min_steps=min_steps, max_steps=max_steps, correct=correct)
        if reason:
            rejected[reason] += 1
        else:
            kept.append(trajectory)
    return Filtered(tuple(kept), dict(rejected))


def balance(trajectories: Sequence[Trajectory], total: int, seed: int = 0) -> tuple[Trajectory, ...]:
    """At most `total` episodes, spread as evenly as the supply allows over their number of turns.

    Each number of turns gives one episode in turn until the total is reached or all are used up; which ones is seeded.
    """
    by_length: dict[int, list[Trajectory]] = defaultdict(list)
    for trajectory in sorted(trajectories, key=lambda t: (t.group_id, t.trajectory_id)):
        by_length[len(trajectory.turns)].append(trajectory)
    for length, group in by_length.items():
        random.Random(f"{seed}-{length}").shuffle(group)
    chosen: list[Trajectory] = []
    while len(chosen) < total and any(by_length.values()):
        for length in sorted(by_length):
            if by_length[length] and len(chosen) < total:
                chosen.append(by_length[length].pop())
    return tuple(chosen)
