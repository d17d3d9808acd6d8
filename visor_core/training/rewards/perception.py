"""Perception: what was read is really there (after Perception-R1, arXiv 2506.07218, with a rule in place of its judge).

Every recorded value is held against the words of the region its entry looked at: it counts when it stands with its
nearest label, once each; an unsupported value costs as much as a confirmed one earns. Pasting all numbers of a page
gives values without labels, which cost. Needs a text layer or OCR words.
"""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.geometry import FULL_PAGE
from visor_core.scoring.facts import confirmed_readings
from visor_core.training.rewards.base import RewardContext

UNSUPPORTED_COST = 1.0


def perception(trajectory: Trajectory, context: RewardContext) -> float:
    """(confirmed − unsupported) / all readings of the standing entries, at least 0; 0 without readings or words."""
    if context.words is None:
        return 0.0
    confirmed = unsupported = 0
    seen: set[tuple[str, str]] = set()
    for entry in trajectory.standing_evidence:
        if (entry.page_id, entry.observation) in seen:
            continue
        seen.add((entry.page_id, entry.observation))
        readings = confirmed_readings(entry.observation, entry.box or FULL_PAGE, context.words(entry.page_id))
        confirmed += readings.confirmed
        unsupported += readings.unsupported
    if confirmed + unsupported == 0:
        return 0.0
    return max(0.0, (confirmed - UNSUPPORTED_COST * unsupported) / (confirmed + unsupported))
