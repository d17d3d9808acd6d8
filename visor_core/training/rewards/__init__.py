"""Rewards: one module a component (a pure function of a trajectory), combined by presets."""

from visor_core.training.rewards.base import Judge, Reward, RewardContext
from visor_core.training.rewards.presets import (
    COMPONENTS,
    PRESETS,
    check_reachable,
    combine,
    components,
    highest,
    resolve,
    score,
)

__all__ = [
    "COMPONENTS",
    "PRESETS",
    "Judge",
    "Reward",
    "RewardContext",
    "check_reachable",
    "combine",
    "components",
    "highest",
    "resolve",
    "score",
]
