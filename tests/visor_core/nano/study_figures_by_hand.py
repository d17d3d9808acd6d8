"""Figures of a study made by hand, for the tests of its tables."""

from __future__ import annotations

from collections.abc import Sequence

from visor_core.nano.study_figures import Outcomes, PolicyFigures, SeedFigures, Strata

READING = {"overview": 0.05, "crop": 0.97, "title": 1.0, "legible": 0.9, "locate": 0.9}
RECALL = {"retriever": 0.95, "BM25": 0.72, "pages": 48.0}


def outcomes(supported: Sequence[int], *, right: Sequence[int] = (), temperature: float = 0.0) -> Outcomes:
    """A run whose supported answers are given as ones; `right` adds right answers without evidence.

    Episodes have four turns; the first question's cost 100 tokens in all, the second's 200, and so on.
    """
    found = tuple(bool(v) for v in supported)
    also = tuple(bool(v) for v in right) or found
    hasty = tuple(r and not s for r, s in zip(also, found, strict=True))
    number = len(found)
    tokens, pictures, turns = tuple(100 * (i + 1) for i in range(number)), (80,) * number, (4,) * number
    return Outcomes(temperature, also, found, (False,) * number, hasty, tokens, pictures, turns)


def policy(greedy: Sequence[int], sampled: Sequence[int], best: Sequence[int]) -> PolicyFigures:
    """One checkpoint's figures."""
    return PolicyFigures(
        outcomes(greedy), outcomes(sampled, temperature=1.0), outcomes(best, temperature=0.3), (0.5, 1.0), 0.2
    )


def seed_figures(
    seed: int, base: PolicyFigures, sft: PolicyFigures, grpo: PolicyFigures, *, ceiling: float = 1.0
) -> SeedFigures:
    """A seed of four questions: two single-hop, of which one is legible at once, and two two-hop."""
    return SeedFigures(
        seed=seed,
        strata=Strata((1, 1, 2, 2), (True, False, False, False), (True,) * 4),
        policies={"base": base, "sft": sft, "grpo": grpo},
        reading=READING,
        recall=RECALL,
        ceiling=ceiling,
        seconds={"base": 120.0, "sft": 150.0, "grpo": 200.0, "retriever": 30.0},
        commits=("abc1234",),
    )
