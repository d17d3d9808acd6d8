"""Selection among candidates (after UniDoc-RL, arXiv 2604.14967): was the picked page gold?

Where no gold page was offered, the top-ranked one counts as right. An invalid choice is shown the top-ranked page and
judged as that. It differs in three things. A search without gold can cost but not earn: there, each right top-ranked
pick raises the mean, so that useless searches pay. Any of several gold pages is a right pick; there, only the
best-ranked one is. Gold that was offered and left is a miss; there, the top-ranked page counts as picked. An episode in
which nothing could be picked wrongly has the full value; without a search that is 0 there, which here is the gate's
doing.
"""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.training.rewards.base import RewardContext


def selections(trajectory: Trajectory) -> list[tuple[tuple[str, ...], str]]:
    """(candidates offered, page picked) for every search that offered candidates; "" where none was picked."""
    pairs: list[tuple[tuple[str, ...], str]] = []
    candidates: tuple[str, ...] = ()
    for turn in trajectory.turns:
        pages = tuple(image.page_id for image in turn.observation.images)
        if turn.observation.kind == "candidates":
            if candidates:
                pairs.append((candidates, ""))
            candidates = pages
        elif turn.action.kind == "select" and candidates and pages:
            pairs.append((candidates, pages[0]))
            candidates = ()
    return [*pairs, (candidates, "")] if candidates else pairs


def selection(trajectory: Trajectory, context: RewardContext) -> float:
    """Share of right picks in [0, 1]; 1 when nothing could be picked wrongly."""
    gold = set(trajectory.question.gold_pages)
    right = wrong = 0
    for candidates, picked in selections(trajectory):
        if gold & set(candidates):
            right += picked in gold
            wrong += picked not in gold
        elif picked:
            wrong += picked != candidates[0]
    return right / (right + wrong) if right + wrong else 1.0
