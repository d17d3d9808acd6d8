"""Excess-search penalty: a factor `max(0, 1 − 0.1·excess)` for positive terms only.

After MMSearch-R1 (arXiv 2506.20670), which multiplies the answer by 0.9 as soon as there was any search; here searches
that are needed cost nothing and every further one costs. Multiplying a negative total would pay for searching, so
presets apply the factor to non-negative sums. One search a gold page is needed, one more is allowed: the verification
search, which may repeat a query. Any further repeat is in excess whatever the count.
"""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.training.rewards.base import RewardContext

PENALTY = 0.1
ALLOWANCE = 1


def excess_searches(trajectory: Trajectory) -> int:
    """Searches beyond the needed ones and the allowance, or repeats of an earlier query if those are more."""
    queries = [" ".join(t.action.text.lower().split()) for t in trajectory.turns if t.action.kind == "search"]
    needed = max(1, len(set(trajectory.question.gold_pages)), trajectory.question.hops)
    repeats = max(0, len(queries) - len(set(queries)) - ALLOWANCE)
    return max(0, len(queries) - needed - ALLOWANCE, repeats)


def search_economy(trajectory: Trajectory, context: RewardContext) -> float:
    """The factor in [0, 1]; it never rises with one more search."""
    return max(0.0, 1.0 - PENALTY * excess_searches(trajectory))
