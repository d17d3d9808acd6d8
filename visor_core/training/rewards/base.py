"""What a reward may look at beside the trajectory: a judge for answers and the words of pages, both optional."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visor_core.agent.trajectory import Trajectory
from visor_core.questions import Question
from visor_core.scoring.facts import Word

Judge = Callable[[Question, str], float]
"""Scores an answer in [0, 1]."""


@dataclass(frozen=True, slots=True)
class RewardContext:
    """Optional sources: `judge` replaces the answer rule, `words` gives a page's words for `perception`."""

    judge: Judge | None = None
    words: Callable[[str], Sequence[Word]] | None = None


Reward = Callable[[Trajectory, RewardContext], float]
"""One component, in [0, 1]; pure but for what the context asks."""
