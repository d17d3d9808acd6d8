"""Citation: F1 of the pages an answer cites against the gold pages (see `scoring.citations`)."""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.scoring.citations import citation_f1
from visor_core.training.rewards.base import RewardContext


def citation(trajectory: Trajectory, context: RewardContext) -> float:
    """F1 in [0, 1]."""
    return citation_f1(trajectory)
