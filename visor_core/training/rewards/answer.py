"""Correctness of the final answer: by the judge where there is one, else by the rule of the answer's format."""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.scoring.answers import answer_score
from visor_core.training.rewards.base import RewardContext


def answer(trajectory: Trajectory, context: RewardContext) -> float:
    """Score of the answer in [0, 1]; an episode without an answer scores 0."""
    if trajectory.outcome not in ("answered", "forced"):
        return 0.0
    if context.judge is not None:
        return context.judge(trajectory.question, trajectory.answer)
    return answer_score(trajectory.question, trajectory.answer)
