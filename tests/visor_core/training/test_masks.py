"""What carries loss: sampled tokens and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.visor_core.training.bandit import bandit_config, build_trainer
from tests.visor_core.training.hand_rows import row, two_rollouts, weighted
from tests.visor_core.training.played import INDEX, play
from visor_core.errors import DataError
from visor_core.policies.encoding import Encoder
from visor_core.training.batching import WeightedRow, collate
from visor_core.training.rollouts import weigh
from visor_core.training.rows import rows_of
from visor_core.training.turn_trainer import TurnGRPOTrainer


@pytest.fixture
def trainer(checkpoint: Path, tmp_path: Path) -> TurnGRPOTrainer:
    return build_trainer(checkpoint, tmp_path, bandit_config(beta=0.1, micro_batch_tokens=4096))


def state_gradients(trainer: TurnGRPOTrainer, rows: list[WeightedRow]) -> torch.Tensor:
    """∂loss/∂(last hidden states) of one micro-batch, (B, T, H): those states feed the LM head alone."""
    kept: list[torch.Tensor] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        output.last_hidden_state.retain_grad()
        kept.append(output.last_hidden_state)

    handle = trainer.model.base_model.register_forward_hook(keep)
    trainer.model.zero_grad(set_to_none=True)
    trainer.update(trainer.model, rows)
    handle.remove()
    (states,) = kept
    assert states.grad is not None
    return states.grad


def test_gradient_is_zero_exactly_where_an_unsampled_token_is_predicted(
    trainer: TurnGRPOTrainer, encoder: Encoder
) -> None:
    rows = weigh(two_rollouts(encoder), trainer.grpo)
    found = state_gradients(trainer, rows).abs().sum(-1)
    ordered = sorted(rows, key=lambda w: -w.row.length)
    batch = collate([w.row for w in ordered], encoder)
    predicts = torch.zeros(batch.input_ids.numel(), dtype=torch.bool)
    predicts[batch.positions] = True
    predicts = predicts.view(batch.input_ids.shape)
    assert predicts.sum() == 12
    assert torch.all(found[~predicts] == 0.0)
    assert torch.all(found[predicts] > 0.0)


def test_a_masked_token_has_no_gradient_and_its_id_no_influence(trainer: TurnGRPOTrainer, encoder: Encoder) -> None:
    plain = row(encoder, 0, 1, (), 5, (1, 2, 3), mask=(True, True, False))
    other = replace(plain, completion_ids=(*plain.completion_ids[:2], plain.completion_ids[2] + 4))
    assert state_gradients(trainer, weighted([plain])).abs().sum(-1).count_nonzero() == 2
    losses = [trainer.update(trainer.model, weighted([r])) for r in (plain, other)]
    assert torch.equal(losses[0], losses[1])


def test_a_token_shown_again_in_the_evidence_is_trained_once(trainer: TurnGRPOTrainer) -> None:
    """A played episode: what a turn read stands in the next prompts, and is trained where it was sampled."""
    played = play(
        trainer.processing_class,
        [
            "<think>look</think><search>acme staff</search>",
            "<think>acme staff q3 4 7</think><search>acme sales</search>",
            "<think>acme sales q1 1 2</think><answer>4 7</answer>",
        ],
        max_turns=4,
    )
    assert played.well_formed
    thought = trainer.processing_class.tokenizer("acme staff q3 4 7", add_special_tokens=False)["input_ids"]
    rows = rows_of(played)

    def shows(ids: tuple[int, ...]) -> bool:
        return any(list(ids[i : i + len(thought)]) == thought for i in range(len(ids)))

    assert [shows(r.completion_ids) for r in rows] == [False, True, False]
    assert [shows(r.prompt_ids) for r in rows] == [False, False, True]
    sampled = sum(len(t.completion.token_ids) for t in played.turns)
    assert sum(sum(r.mask) for r in rows) == sampled
    trainer.encoder = Encoder(trainer.processing_class, INDEX)
    assert state_gradients(trainer, weighted(rows)).abs().sum(-1).count_nonzero() == sampled


def test_forbidden_tokens_have_no_probability_in_scoring(trainer: TurnGRPOTrainer, encoder: Encoder) -> None:
    """The head's row of an image token gets no gradient, as sampling never draws it."""
    trainer.model.zero_grad(set_to_none=True)
    trainer.update(trainer.model, weigh(two_rollouts(encoder), trainer.grpo))
    gradient = trainer.model.lm_head.weight.grad
    assert gradient is not None
    assert torch.all(gradient[encoder.image_token_id] == 0.0)
    assert gradient.abs().sum() > 0


def test_image_tokens_must_match_image_features(encoder: Encoder) -> None:
    whole = two_rollouts(encoder)[1].rows[0]
    cut = replace(whole, prompt_ids=whole.prompt_ids[5:])
    with pytest.raises(DataError, match="image tokens for"):
        collate([cut], encoder)
    with pytest.raises(DataError, match="image placeholder"):
        collate([replace(whole, completion_ids=(encoder.image_token_id,))], encoder)
