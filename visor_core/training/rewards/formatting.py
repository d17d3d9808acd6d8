"""Format: every reply the policy wrote is exactly one thought and one action, and the episode ended in an answer."""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.training.rewards.base import RewardContext


def well_formed(trajectory: Trajectory, context: RewardContext) -> float:
    """1 or 0; presets give a malformed rollout the minimum of their range instead of weighing this."""
    return float(trajectory.well_formed)
