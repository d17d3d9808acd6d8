"""Crop: F1 of the boxes asked for against the gold boxes, a mean over pages (after UniDoc-RL; see `scoring.crops`)."""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.scoring.crops import crop_reward, crops_made, gold_regions
from visor_core.training.rewards.base import RewardContext


def crop(trajectory: Trajectory, context: RewardContext) -> float:
    """1 if none is needed and none was made, 0 if only one of both holds, else the F1; averaged over pages."""
    return crop_reward(trajectory.pages_looked_at, crops_made(trajectory), gold_regions(trajectory.question))
