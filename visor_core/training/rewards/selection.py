"""Selection among candidates (UniDoc-RL, arXiv 2604.14967): was the picked page gold?

Where no gold page was offered, the top-ranked one counts as right. Such a search can cost but, once a gold page has
been offered elsewhere, not earn: otherwise useless searches would dilute a wrong selection. An invalid choice is shown
the top-ranked page and judged as that.
"""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.training.rewards.base import RewardContext


def selections(trajectory: Trajectory) -> list[tuple[tuple[str, ...], str]]:
    """(candidates offered, page picked) for every search that offered candidates and was followed by a pick."""
    pairs: list[tuple[tuple[str, ...], str]] = []
    candidates: tuple[str, ...] = ()
    for turn in trajectory.turns:
        pages = tuple(image.page_id for image in turn.observation.images)
        if turn.observation.kind == "candidates":
            candidates = pages
        elif turn.action.kind == "select" and candidates and pages:
            pairs.append((candidates, pages[0]))
            candidates = ()
    return pairs


def selection(trajectory: Trajectory, context: RewardContext) -> float:
    """Share of right picks in [0, 1]; 0 when nothing was picked."""
    gold = set(trajectory.question.gold_pages)
    picks = selections(trajectory)
    with_gold = [picked in gold for candidates, picked in picks if gold & set(candidates)]
    without = [picked == candidates[0] for candidates, picked in picks if not gold & set(candidates)]
    counted = len(with_gold) + without.count(False)
    if counted == 0:
        return float(bool(without))
    return sum(with_gold) / counted
