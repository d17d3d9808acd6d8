"""Partial credit for rightly saying that the information is missing (VISOR, arXiv 2604.09508; weight unpublished).

"Rightly": the question can be answered, but the episode was not shown all its gold pages. Saying so on a question that
cannot be answered at all is simply the right answer.
"""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.scoring.answers import says_missing
from visor_core.scoring.retrieval import recall
from visor_core.training.rewards.base import RewardContext


def honesty(trajectory: Trajectory, context: RewardContext) -> float:
    """1 when the answer admits what was indeed not seen, else 0."""
    question = trajectory.question
    if not question.answerable or not says_missing(trajectory.answer):
        return 0.0
    return float(recall(trajectory.pages_seen, question.gold_pages) < 1.0)
