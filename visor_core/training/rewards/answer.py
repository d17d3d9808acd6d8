"""Correctness of the final answer: by the judge where there is one, else by the rule of its benchmark."""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.errors import ConfigError
from visor_core.scoring.answers import answer_score
from visor_core.training.rewards.base import RewardContext


def answer(trajectory: Trajectory, context: RewardContext) -> float:
    """Score of the answer in [0, 1]; an episode without an answer scores 0.

    Raises:
        ConfigError: without a judge, if the question's benchmark publishes no rule.
    """
    if trajectory.outcome not in ("answered", "forced"):
        return 0.0
    if context.judge is not None:
        return context.judge(trajectory.question, trajectory.answer)
    found = answer_score(trajectory.question, trajectory.answer)
    if found is None:
        raise ConfigError(
            f"question {trajectory.question.question_id} of {trajectory.question.benchmark}: answers have no published"
            " rule and there is no judge: train on questions of another set"
        )
    return found
