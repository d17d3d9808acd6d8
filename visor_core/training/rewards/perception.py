"""Perception: what was read is really there.

After Perception-R1 (arXiv 2506.07218), which pays the share of a picture's annotated facts that a language model finds
in the reply, and where nothing costs; here a rule compares with the page's own words, and what is not there costs.

Every recorded value is held against the words of the region its entry looked at: it counts when it stands with its
nearest label, once a page however often it is written; an unsupported value costs as much as a confirmed one earns.
Pasting all numbers of a page gives values without labels, which cost. Only gold pages earn, all pages cost: otherwise
copying the pages of a useless search would raise the share. Needs a text layer or OCR words.
"""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.geometry import FULL_PAGE
from visor_core.scoring.facts import confirmed_readings
from visor_core.training.rewards.base import RewardContext

UNSUPPORTED_COST = 1.0


def perception(trajectory: Trajectory, context: RewardContext) -> float:
    """(confirmed − unsupported) / (confirmed + unsupported) over distinct (page, label, value), at least 0.

    Confirmed are those of gold pages that some standing entry confirms, unsupported those that none does on any page;
    0 without either, or without words.
    """
    if context.words is None:
        return 0.0
    confirmed: set[tuple[str, str, str]] = set()
    unsupported: set[tuple[str, str, str]] = set()
    for entry in trajectory.standing_evidence:
        readings = confirmed_readings(entry.observation, entry.box or FULL_PAGE, context.words(entry.page_id))
        confirmed |= {(entry.page_id, *claim) for claim in readings.confirmed}
        unsupported |= {(entry.page_id, *claim) for claim in readings.unsupported}
    costs = len(unsupported - confirmed)
    earns = sum(page in trajectory.question.gold_pages for page, _, _ in confirmed)
    if earns + costs == 0:
        return 0.0
    return max(0.0, (earns - UNSUPPORTED_COST * costs) / (earns + costs))
