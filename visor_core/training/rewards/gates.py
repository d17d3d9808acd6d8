"""Gates: what a rollout must have done before a preset pays anything, as its source demands it.

Sources: VRAG-RL (arXiv 2505.22019) pays only for a reply with a search and an answer; UniDoc-RL (arXiv 2604.14967)
also needs a selection and an `<information>` section. That section is the thought of a reply to a page or crop here,
which is where the observation goes. Both look for the tags anywhere in the reply, so once is enough. Where the answer
is missing UniDoc-RL still pays its dense rewards and half of the format; here such a rollout is malformed.
"""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.training.rewards.base import RewardContext


def searched(trajectory: Trajectory, context: RewardContext) -> float:
    """1 if there was a search, the environment's own first one included; else 0."""
    return float(any(turn.action.kind == "search" for turn in trajectory.turns))


def selected(trajectory: Trajectory, context: RewardContext) -> float:
    """1 if a candidate was selected and shown in full; else 0."""
    return float(any(turn.action.kind == "select" and turn.observation.images for turn in trajectory.turns))


def informed(trajectory: Trajectory, context: RewardContext) -> float:
    """1 if the policy replied to a page or crop that it was shown; else 0."""
    seen = False
    for turn in trajectory.turns:
        if seen and not turn.forced:
            return 1.0
        seen = seen or turn.observation.kind in ("page", "crop")
    return 0.0
