"""Two rollouts of 2 and 3 turns with 0, 1 and 2 pictures: the example the objective is checked on."""

from __future__ import annotations

from collections.abc import Sequence

from tests.visor_core.training.episodes import shown
from visor_core.policies.base import ImageRef
from visor_core.policies.encoding import Encoder
from visor_core.training.batching import WeightedRow
from visor_core.training.credit import CreditRollout, CreditTurn
from visor_core.training.rollouts import StepRollout
from visor_core.training.rows import TurnRow

WORDS = 16
"""First id that is an ordinary word of the tiny tokenizer."""


def row(
    encoder: Encoder,
    rollout: int,
    turn: int,
    images: Sequence[ImageRef],
    text: int,
    reply: Sequence[int],
    *,
    old: Sequence[float] = (),
    action: str = "search",
    mask: Sequence[bool] | None = None,
) -> TurnRow:
    """A row whose prompt is the pictures followed by `text` words."""
    prompt = [encoder.tokenizer.bos_token_id]
    for image in images:
        prompt += encoder.image(image).ids
    prompt += [WORDS + (3 * turn + 5 * rollout + i) % 30 for i in range(text)]
    return TurnRow(
        rollout=rollout,
        group="g",
        turn=turn,
        prompt_ids=tuple(prompt),
        completion_ids=tuple(WORDS + i for i in reply),
        images=tuple(images),
        old_logprobs=tuple(old),
        mask=tuple(mask) if mask is not None else (True,) * len(reply),
        action=action,  # type: ignore[arg-type]
    )


def two_rollouts(encoder: Encoder) -> list[StepRollout]:
    """Rewards 1 and 0.25; lengths 2+3 and 1+4+2 tokens; recorded log-probabilities for stale rollouts."""
    a, b, c = shown("p1"), shown("p2"), shown("p3")
    first = (
        row(encoder, 0, 1, (), 5, (1, 2), old=(-3.0, -4.5), action="search"),
        row(encoder, 0, 2, (a,), 4, (3, 4, 5), old=(-2.5, -5.0, -4.0), action="answer"),
    )
    second = (
        row(encoder, 1, 1, (a, b), 7, (6,), old=(-4.2,), action="search"),
        row(encoder, 1, 2, (b, a), 3, (7, 8, 9, 10), old=(-4.0, -3.1, -6.0, -2.0), action="search"),
        row(encoder, 1, 3, (c,), 2, (11, 12), old=(-5.0, -5.5), action="answer"),
    )
    return [
        StepRollout(
            first,
            CreditRollout(
                "g",
                1.0,
                (
                    CreditTurn(2, "search", 1.0, ("think", "search")),
                    CreditTurn(3, "answer", 1.0, ("think", "answer", "other")),
                ),
                {"answer": 1.0, "evidence_facts": 0.5, "coverage": 1.0, "pages_found": 0.5},
            ),
        ),
        StepRollout(
            second,
            CreditRollout(
                "g",
                0.25,
                (
                    CreditTurn(1, "search", 0.0, ("search",)),
                    CreditTurn(4, "search", 1.0, ("think", "think", "search", "search")),
                    CreditTurn(2, "answer", 0.0, ("answer", "other")),
                ),
                {"answer": 0.0, "evidence_facts": 0.0, "coverage": 1.0, "pages_found": 1.0},
            ),
        ),
    ]


def weighted(rows: Sequence[TurnRow], advantage: float = 1.0, weight: float = 1.0) -> list[WeightedRow]:
    """Rows that share one advantage and one weight."""
    return [
        WeightedRow(
            r,
            tuple(advantage if m else 0.0 for m in r.mask),
            tuple(weight if m else 0.0 for m in r.mask),
        )
        for r in rows
    ]
