"""Crop: F1 of the crops made against the gold boxes at IoU ≥ 0.5 (UniDoc-RL, arXiv 2604.14967)."""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.scoring.crops import crop_f1, crops_made, gold_regions
from visor_core.training.rewards.base import RewardContext


def crop(trajectory: Trajectory, context: RewardContext) -> float:
    """1 if none is needed and none was made, 0 if only one of both holds, else the F1."""
    return crop_f1(crops_made(trajectory), gold_regions(trajectory.question))
