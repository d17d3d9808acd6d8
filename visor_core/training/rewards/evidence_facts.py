"""Evidence facts: share of the question's gold (subject, field, value) recorded from their page.

What learned in the prototype of the nano world; with the answer alone as reward the policy learns to answer two-hop
questions after one look-up, and supported success falls.
"""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.scoring.facts import recorded_facts
from visor_core.training.rewards.base import RewardContext


def evidence_facts(trajectory: Trajectory, context: RewardContext) -> float:
    """Share of gold facts in the ledger, in [0, 1]; 0 for a question without gold facts."""
    return recorded_facts(trajectory) if trajectory.question.gold_facts else 0.0
