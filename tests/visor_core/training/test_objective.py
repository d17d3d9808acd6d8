"""Loss and gradient of one step against the formula, written out with the stock model row by row.

It shares no code with training: stock forward pass, full logits, explicit sums, advantages worked by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny_model import picture
from tests.visor_core.training.bandit import bandit_config, build_trainer, gradients
from tests.visor_core.training.hand_rows import two_rollouts, weighted
from visor_core.errors import DataError
from visor_core.policies.encoding import Encoder
from visor_core.policies.sampling import forbidden_tokens
from visor_core.training.grpo import trl_arguments
from visor_core.training.loop import base_of, load_for_training
from visor_core.training.rollouts import StepRollout, weigh
from visor_core.training.rows import TurnRow
from visor_core.training.turn_trainer import TurnGRPOTrainer

TEMPERATURE = 0.8
BETA = 0.05
STD = 0.75 / math.sqrt(2) + 1e-4
SHARED = (0.375 / STD, -0.375 / STD)
# searches earned 1, 0, 1; answers 1, 0
SEARCH_STD = math.sqrt(1 / 3) + 1e-4
HALF_STD = math.sqrt(0.5) + 1e-4
TURN = {
    (0, 1): 0.5 * (1 / 3) / SEARCH_STD,
    (0, 2): 0.5 * 0.5 / HALF_STD,
    (1, 1): 0.5 * (-2 / 3) / SEARCH_STD,
    (1, 2): 0.5 * (1 / 3) / SEARCH_STD,
    (1, 3): -0.5 * 0.5 / HALF_STD,
}
# think: evidence_facts + coverage = 1.5 and 1.0; search: pages_found 0.5 and 1.0; answer: 1 and 0
THINK = 0.25 / (0.5 / math.sqrt(2) + 1e-4)
ANSWER = 0.5 / HALF_STD
SECTION = {
    (0, 1): (THINK, -THINK),
    (0, 2): (THINK, ANSWER, SHARED[0]),
    (1, 1): (THINK,),
    (1, 2): (-THINK, -THINK, THINK, THINK),
    (1, 3): (-ANSWER, SHARED[1]),
}
LENGTHS = (5, 7)
TOTAL = 12


# Leave-one-out, not divided by a standard deviation, turns weighed 0.3: searches 1, 0, 1 less the mean of the others.
PLAIN_TURN = {
    (0, 1): 0.75 + 0.3 * 0.5,
    (0, 2): 0.75 + 0.3 * 1.0,
    (1, 1): -0.75 + 0.3 * -1.0,
    (1, 2): -0.75 + 0.3 * 0.5,
    (1, 3): -0.75 + 0.3 * -1.0,
}
PLAIN_SECTION = {
    (0, 1): (0.5, -0.5),
    (0, 2): (0.5, 1.0, 0.75),
    (1, 1): (0.5,),
    (1, 2): (-0.5, -0.5, 0.5, 0.5),
    (1, 3): (-1.0, -0.75),
}


def advantages_by_hand(mode: str, row: TurnRow, *, plain: bool = False) -> list[float]:
    if plain:
        turn = PLAIN_TURN[row.rollout, row.turn]
        return list(PLAIN_SECTION[row.rollout, row.turn]) if mode == "section" else [turn] * len(row.completion_ids)
    shared = SHARED[row.rollout]
    if mode == "turn":
        return [shared + TURN[row.rollout, row.turn]] * len(row.completion_ids)
    if mode == "section":
        return list(SECTION[row.rollout, row.turn])
    return [shared] * len(row.completion_ids)


def weight_by_hand(normalisation: str, row: TurnRow) -> float:
    """Weights of the loss as a plain sum (so without the factor L)."""
    return {"rollout": 1 / (2 * LENGTHS[row.rollout]), "token": 1 / TOTAL, "constant": 1 / (2 * 16)}[normalisation]


def stock_log_probs(model: Any, encoder: Encoder, row: TurnRow) -> torch.Tensor:
    """(k,) log-probabilities of a row's reply by the stock forward pass, one row, no padding."""
    images = [encoder.image(ref) for ref in row.images]
    ids = torch.tensor([row.prompt_ids + row.completion_ids])
    pixels = {k: v.to(model.dtype) if v.is_floating_point() else v for k, v in encoder.stack(images).items()}
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **pixels).logits[0] / TEMPERATURE
    logits[:, list(forbidden_tokens(encoder.tokenizer, model.config))] = float("-inf")
    start = len(row.prompt_ids) - 1
    table = torch.log_softmax(logits[start : start + len(row.completion_ids)], dim=-1)
    return table[torch.arange(len(row.completion_ids)), torch.tensor(row.completion_ids)]


def build(checkpoint: Path, output: Path, encoder: Encoder, **changes: Any) -> TurnGRPOTrainer:
    config = bandit_config(temperature=TEMPERATURE, beta=BETA, **changes)
    model, processor = load_for_training(checkpoint, dtype="float64")
    trainer = TurnGRPOTrainer(
        model=model,
        args=trl_arguments(config, output, 0),
        processing_class=processor,
        encoder=Encoder(processor, picture),
        grpo=config,
    )
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in trainer.ref_model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.02)
    return trainer


def same_gradients(found: dict[str, Any], model: Any) -> None:
    """Gradients found by an update and those the model holds now."""
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        scale = max(1.0, float(parameter.grad.abs().max()))
        torch.testing.assert_close(found[name], parameter.grad, rtol=0, atol=1e-6 * scale, msg=name)


def same_update(
    found: dict[str, Any],
    model: Any,
    encoder: Encoder,
    rollouts: Sequence[StepRollout],
    term: Callable[[TurnRow, torch.Tensor], torch.Tensor],
) -> None:
    """Loss and gradients found by an update, and those of a sum over rows of `term(row, log-probabilities)`."""
    model.zero_grad(set_to_none=True)
    loss = torch.zeros((), dtype=torch.float64)
    for row in (row for rollout in rollouts for row in rollout.rows):
        loss = loss + term(row, stock_log_probs(model, encoder, row)).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(found[""]) == pytest.approx(float(loss.detach()), rel=1e-6, abs=1e-6)
    same_gradients(found, model)


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize(
    ("credit", "normalisation", "loss_type"),
    [
        ("trajectory", "rollout", "dapo"),
        ("turn", "rollout", "dapo"),
        ("section", "rollout", "dapo"),
        ("trajectory", "token", "dapo"),
        ("turn", "constant", "dapo"),
        ("trajectory", "rollout", "cispo"),
        ("section", "token", "cispo"),
        ("turn", "constant", "cispo"),
    ],
)
def test_loss_and_gradient_equal_the_formula(
    checkpoint: Path, tmp_path: Path, encoder: Encoder, credit: str, normalisation: str, loss_type: str, stale: bool
) -> None:
    high = 0.3 if loss_type == "dapo" else 4.0
    trainer = build(
        checkpoint, tmp_path, encoder, credit=credit, normalisation=normalisation, loss_type=loss_type,
        epsilon_high=high, micro_batch_tokens=64,
    )  # fmt: skip
    rollouts = two_rollouts(encoder)
    found = gradients(trainer, weigh(rollouts, trainer.grpo), stale=stale)

    def term(row: TurnRow, log_probs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            ref = stock_log_probs(trainer.ref_model, encoder, row)
        old = torch.tensor(row.old_logprobs, dtype=torch.float64) if stale else log_probs.detach()
        a = torch.tensor(advantages_by_hand(credit, row), dtype=torch.float64)
        ratio = torch.exp(log_probs - old)
        if loss_type == "dapo":
            policy = -torch.minimum(ratio * a, ratio.clamp(1 - 0.2, 1 + high) * a)
        else:
            policy = -ratio.clamp(max=high).detach() * a * log_probs
        k3 = torch.exp(ref - log_probs) - (ref - log_probs) - 1
        return weight_by_hand(normalisation, row) * (policy + BETA * k3)

    same_update(found, trainer.model, encoder, rollouts, term)


@pytest.mark.parametrize("credit", ["turn", "section"])
def test_leave_one_out_without_scaling_and_another_turn_weight(
    checkpoint: Path, tmp_path: Path, encoder: Encoder, credit: str
) -> None:
    trainer = build(
        checkpoint, tmp_path, encoder, credit=credit, baseline="leave_one_out", scale_by_std=False, turn_weight=0.3
    )
    trainer.beta = 0.0
    rollouts = two_rollouts(encoder)
    found = gradients(trainer, weigh(rollouts, trainer.grpo))

    def term(row: TurnRow, log_probs: torch.Tensor) -> torch.Tensor:
        a = torch.tensor(advantages_by_hand(credit, row, plain=True), dtype=torch.float64)
        return -weight_by_hand("rollout", row) * torch.exp(log_probs - log_probs.detach()) * a

    same_update(found, trainer.model, encoder, rollouts, term)


def test_a_masked_token_counts_neither_in_the_loss_nor_in_the_length(
    checkpoint: Path, tmp_path: Path, encoder: Encoder
) -> None:
    trainer = build(checkpoint, tmp_path, encoder)
    first, second = two_rollouts(encoder)
    mask = (True, False, True, True)
    rows = (second.rows[0], replace(second.rows[1], mask=mask), second.rows[2])
    turns = (second.credit.turns[0], replace(second.credit.turns[1], tokens=3), second.credit.turns[2])
    rollouts = [first, StepRollout(rows, replace(second.credit, turns=turns))]
    found = gradients(trainer, weigh(rollouts, trainer.grpo))

    def term(row: TurnRow, log_probs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            ref = stock_log_probs(trainer.ref_model, encoder, row)
        policy = -torch.exp(log_probs - log_probs.detach()) * SHARED[row.rollout]
        k3 = torch.exp(ref - log_probs) - (ref - log_probs) - 1
        # 5 and 6 tokens are trained
        return (policy + BETA * k3) * torch.tensor(row.mask) / (2 * (5, 6)[row.rollout])

    same_update(found, trainer.model, encoder, rollouts, term)


def test_adapters_are_held_to_the_model_without_them(checkpoint: Path, tmp_path: Path, encoder: Encoder) -> None:
    """Without advantages the loss is β·KL to the start, for adapters that have moved."""
    config = bandit_config(temperature=TEMPERATURE, beta=BETA, lora_rank=2)
    trainer = build_trainer(checkpoint, tmp_path, config)
    torch.manual_seed(0)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    rows = [row for rollout in two_rollouts(encoder) for row in rollout.rows]
    loss = trainer.update(trainer.model, weighted(rows, advantage=0.0))
    start, _ = load_for_training(checkpoint)
    kl = torch.zeros(())
    with torch.no_grad():
        for row in rows:
            ref = stock_log_probs(start, encoder, row)
            now = stock_log_probs(base_of(trainer.model), encoder, row)
            kl += (torch.exp(ref - now) - (ref - now) - 1).sum() / TOTAL
    assert float(kl) > 0.01
    assert float(loss) == pytest.approx(BETA * float(kl), rel=1e-3)


@pytest.mark.parametrize("stale", [False, True])
def test_a_row_without_log_probabilities_cannot_be_corrected(
    checkpoint: Path, tmp_path: Path, encoder: Encoder, stale: bool
) -> None:
    """One such row must not switch the correction off for the rows beside it."""
    trainer = build(checkpoint, tmp_path, encoder, micro_batch_tokens=4096)
    trainer.engine_mismatch = not stale
    first, second = two_rollouts(encoder)
    bare = replace(second, rows=(*second.rows[:2], replace(second.rows[2], old_logprobs=())))
    with pytest.raises(DataError, match="turn 3 of group g has no log-probabilities"):
        trainer.update(trainer.model, weigh([first, bare], trainer.grpo), stale=stale)


def test_engine_mismatch_is_corrected_by_the_truncated_ratio(
    checkpoint: Path, tmp_path: Path, encoder: Encoder
) -> None:
    """Loss and gradient equal −Σ w·min(π/π_engine, cap)·A·∇ log π, the ratio detached."""
    trainer = build(checkpoint, tmp_path, encoder, importance_cap=2.0)
    trainer.beta = 0.0
    trainer.engine_mismatch = True
    rollouts = two_rollouts(encoder)
    found = gradients(trainer, weigh(rollouts, trainer.grpo))
    model = trainer.model
    model.zero_grad(set_to_none=True)
    surrogate = torch.zeros((), dtype=torch.float64)
    for rollout in rollouts:
        for row in rollout.rows:
            log_probs = stock_log_probs(model, encoder, row)
            ratio = torch.exp(log_probs.detach() - torch.tensor(row.old_logprobs)).clamp(max=2.0)
            a = SHARED[row.rollout] * ratio
            surrogate = surrogate - weight_by_hand("rollout", row) * (a * log_probs).sum()
    surrogate.backward()
    same_gradients(found, model)
