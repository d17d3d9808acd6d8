"""Retrieval: gold pages shown, gold pages in the ledger, what else the ledger holds, and the NDCG of what was offered.

Sources: VISOR's r_ret (all needed pages retrieved); SCoRE's `cov` and `cmp` (arXiv 2609.15800); NDCG of UniDoc-RL
(arXiv 2604.14967) and VRAG-RL (arXiv 2505.22019).
"""

from __future__ import annotations

from visor_core.agent.trajectory import Trajectory
from visor_core.scoring import ledger, retrieval
from visor_core.training.rewards.base import RewardContext


def pages_found(trajectory: Trajectory, context: RewardContext) -> float:
    """Share of gold pages shown in the episode."""
    return retrieval.recall(trajectory.pages_seen, trajectory.question.gold_pages)


def ledger_coverage(trajectory: Trajectory, context: RewardContext) -> float:
    """SCoRE's `cov`."""
    return ledger.coverage(trajectory)


def ledger_precision(trajectory: Trajectory, context: RewardContext) -> float:
    """SCoRE's `cmp`."""
    return ledger.compactness(trajectory)


def offered(trajectory: Trajectory) -> list[list[str]]:
    """Page ids each search put before the agent: its candidates, or the page shown."""
    return [
        [image.page_id for image in turn.observation.images]
        for turn in trajectory.turns
        if turn.action.kind == "search" and turn.observation.kind in ("candidates", "page")
    ]


def candidate_ndcg(trajectory: Trajectory, context: RewardContext) -> float:
    """After UniDoc-RL: binary NDCG over the candidates of all searches, interleaved by rank, each page in one place.

    Where a page offered twice stands departs from UniDoc-RL: see `visor_core.scoring.retrieval.interleave`. Its
    released code stops at rank 3 and finds no page at all: it compares characters of names.
    """
    gold = trajectory.question.gold_pages
    return retrieval.ndcg(retrieval.interleave(offered(trajectory), gold), gold)


def shown_ndcg(trajectory: Trajectory, context: RewardContext) -> float:
    """VRAG-RL's binary NDCG over the pages in the order in which they were shown."""
    return retrieval.ndcg(trajectory.pages_seen, trajectory.question.gold_pages)
