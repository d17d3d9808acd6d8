"""What must not change an update: how rows are cut, ordered, padded and deduplicated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.visor_core.training.bandit import bandit_config, build_trainer, gradients
from tests.visor_core.training.episodes import shown
from tests.visor_core.training.hand_rows import row, weighted
from visor_core.policies.encoding import Encoder
from visor_core.policies.vision import VisionCache
from visor_core.training import batching, turn_trainer
from visor_core.training.batching import FILLER, WeightedRow, collate, cut, plan
from visor_core.training.forward import add_row_head, prepare
from visor_core.training.rows import TurnRow
from visor_core.training.turn_trainer import TurnGRPOTrainer


def seven_rows(encoder: Encoder) -> list[WeightedRow]:
    """Seven rows with 0, 1 and 2 pictures, whose picture count equals the row count (TRL attaches those wrongly)."""
    a, b, c = shown("p1"), shown("p2"), shown("p3")
    pictures: list[Sequence[Any]] = [(), (a,), (a, b), (c,), (b, c), (), (a,)]
    assert sum(map(len, pictures)) == 7
    rows = [row(encoder, i, i, refs, 2 + i, range(1, 2 + i % 3)) for i, refs in enumerate(pictures)]
    return [w for i, r in enumerate(rows) for w in weighted([r], advantage=(-1.0) ** i * (1 + i), weight=0.5 + i / 4)]


@pytest.fixture
def trainer(checkpoint: Path, tmp_path: Path) -> TurnGRPOTrainer:
    return build_trainer(
        checkpoint, tmp_path, bandit_config(beta=0.1, entropy_coefficient=0.03, micro_batch_tokens=4096)
    )


def same(left: dict[str, Any], right: dict[str, Any], tolerance: float = 1e-5) -> None:
    """Loss and every gradient equal, relative to the gradient's norm."""
    for name, value in left.items():
        difference = float((right[name] - value).norm())
        assert difference <= tolerance * max(1.0, float(value.norm())), (name, difference, float(value.norm()))


@pytest.fixture
def expected(trainer: TurnGRPOTrainer, encoder: Encoder) -> dict[str, Any]:
    return gradients(trainer, seven_rows(encoder))


def test_one_micro_batch_equals_many(trainer: TurnGRPOTrainer, encoder: Encoder, expected: dict[str, Any]) -> None:
    for budget in (1, 40, 64):
        trainer.grpo = trainer.grpo.model_copy(update={"micro_batch_tokens": budget})
        same(expected, gradients(trainer, seven_rows(encoder)))


def test_order_of_rows(trainer: TurnGRPOTrainer, encoder: Encoder, expected: dict[str, Any]) -> None:
    same(expected, gradients(trainer, seven_rows(encoder)[::-1]))
    trainer.sort_rows = False
    same(expected, gradients(trainer, seven_rows(encoder)[3:] + seven_rows(encoder)[:3]))


def test_deduplicated_pictures(trainer: TurnGRPOTrainer, encoder: Encoder, expected: dict[str, Any]) -> None:
    trainer.deduplicate_images = False
    same(expected, gradients(trainer, seven_rows(encoder)))


def test_rows_that_say_the_same_are_scored_once_and_all_trained(
    trainer: TurnGRPOTrainer, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three rollouts of the seven rows, with advantages and weights of their own, against every row for itself."""
    rows = [
        WeightedRow(
            replace(w.row, rollout=10 * copy + w.row.rollout),
            tuple(a * (copy - 0.5) for a in w.advantages),
            tuple(v / (1 + copy) for v in w.weights),
        )
        for copy in range(3)
        for w in seven_rows(encoder)
    ]
    batch = collate([w.row for w in rows], encoder)
    assert (batch.rows, len(batch.input_ids)) == (21, 7)
    together = gradients(trainer, rows)
    assert len(plan([w.row for w in rows], 256)) == len(plan([w.row for w in seven_rows(encoder)], 256))
    monkeypatch.setattr(TurnRow, "content", property(lambda row: row))
    assert len(collate([w.row for w in rows], encoder).input_ids) == 21
    same(gradients(trainer, rows), together)


def test_amount_of_padding(
    trainer: TurnGRPOTrainer, encoder: Encoder, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wider(rows: Any, given: Encoder) -> batching.RowBatch:
        return collate(rows, given, extra_padding=9)

    monkeypatch.setattr(turn_trainer, "collate", wider)
    same(expected, gradients(trainer, seven_rows(encoder)))


def test_side_of_padding(trainer: TurnGRPOTrainer, encoder: Encoder) -> None:
    """Right-padded scoring equals the stock forward pass on left-padded rows, as engines run them."""
    rows = [w.row for w in seven_rows(encoder)]
    model = trainer.model
    batch = collate(rows, encoder)
    width = batch.input_ids.shape[1]
    ids = torch.full_like(batch.input_ids, encoder.pad_token_id)
    mask = torch.zeros_like(ids)
    for i, r in enumerate(rows):
        ids[i, width - r.length :] = torch.tensor(r.prompt_ids + r.completion_ids)
        mask[i, width - r.length :] = 1
    pictures = encoder.stack([encoder.image(ref) for r in rows for ref in r.images])
    with torch.no_grad():
        log_probs, _, _ = model(row_batch=prepare(model, encoder, batch))
        logits = model(input_ids=ids, attention_mask=mask, **pictures).logits
    forbidden = [i for i in range(logits.shape[-1]) if encoder.tokenizer.decode([i]) in ("<image>",)]
    assert forbidden == [encoder.image_token_id]
    from visor_core.policies.sampling import forbidden_tokens

    logits[..., list(forbidden_tokens(encoder.tokenizer, model.config))] = float("-inf")
    table = torch.log_softmax(logits, dim=-1)
    for i, r in enumerate(rows):
        n = len(r.completion_ids)
        found = table[i, width - n - 1 : width - 1].gather(1, torch.tensor(r.completion_ids).unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(log_probs[i, :n], found, rtol=0, atol=2e-5)


def test_seven_rows_lose_none(trainer: TurnGRPOTrainer, encoder: Encoder, expected: dict[str, Any]) -> None:
    """The update is the sum over rows: each row's own update adds up to that of all."""
    trainer.grpo = trainer.grpo.model_copy(update={"entropy_coefficient": 0.0})
    trainer.entropy_coef = 0.0
    rows = seven_rows(encoder)
    whole = gradients(trainer, rows)
    trained = sum(len(w.weights) for w in rows)
    total: dict[str, torch.Tensor] = {}
    for single in rows:
        part = gradients(trainer, [single])
        for name, value in part.items():
            value = torch.zeros(()) if value is None else value
            total[name] = total.get(name, torch.zeros(())) + value * len(single.weights) / trained
    same(whole, total)


@pytest.mark.parametrize("coefficient", [1.0, -1.0])
def test_entropy_bonus_raises_entropy_and_penalty_lowers_it(
    coefficient: float, trainer: TurnGRPOTrainer, encoder: Encoder
) -> None:
    """A small step on rows without advantages."""
    trainer.grpo = trainer.grpo.model_copy(update={"entropy_coefficient": coefficient})
    model, rows = trainer.model, [w.row for w in seven_rows(encoder)]

    def entropy() -> float:
        with torch.no_grad():
            _, entropies, _ = model(row_batch=prepare(model, encoder, collate(rows, encoder)))
        return float(sum(entropies[i, : len(r.completion_ids)].sum() for i, r in enumerate(rows)))

    before = entropy()
    slopes = gradients(trainer, [w for r in rows for w in weighted([r], advantage=0.0)])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in slopes:
                parameter -= 1e-3 * slopes[name]
    assert (entropy() - before) * coefficient > 1e-4


def test_rows_keep_their_own_pictures(trainer: TurnGRPOTrainer, encoder: Encoder) -> None:
    """A row's log-probabilities are the same alone and among rows with other pictures."""
    rows = [w.row for w in seven_rows(encoder)]
    model = trainer.model
    with torch.no_grad():
        together, _, _ = model(row_batch=prepare(model, encoder, collate(rows, encoder)))
        for i, r in enumerate(rows):
            alone, _, _ = model(row_batch=prepare(model, encoder, collate([r], encoder)))
            n = len(r.completion_ids)
            torch.testing.assert_close(alone[0, :n], together[i, :n], rtol=0, atol=1e-5)


def test_pictures_matter(trainer: TurnGRPOTrainer, encoder: Encoder) -> None:
    one, other = (row(encoder, 0, 0, (shown(p),), 3, (1, 2)) for p in ("p1", "p2"))
    model = trainer.model
    with torch.no_grad():
        found = [model(row_batch=prepare(model, encoder, collate([r], encoder)))[0] for r in (one, other)]
    assert not torch.allclose(found[0], found[1])


def test_cached_features_equal_fresh_ones(checkpoint: Path, tmp_path: Path, encoder: Encoder) -> None:
    config = bandit_config(freeze_vision=True, micro_batch_tokens=64)
    fresh = build_trainer(checkpoint, tmp_path / "a", config)
    cached = build_trainer(checkpoint, tmp_path / "b", config, cache=VisionCache())
    rows = seven_rows(encoder)
    expected = gradients(fresh, rows)
    assert expected
    assert not any("vision_model" in name or "connector" in name for name in expected)
    same(expected, gradients(cached, rows))
    same(expected, gradients(cached, rows))
    assert cached.cache is not None
    assert cached.cache.misses == 3
    assert cached.cache.hits > 0


def test_cached_features_do_not_depend_on_their_company(trainer: TurnGRPOTrainer, encoder: Encoder) -> None:
    images = [encoder.image(shown(f"p{n}")) for n in range(5)]
    together = VisionCache().features(trainer.model, encoder, images)
    cache = VisionCache()
    for image, expected in zip(reversed(images), reversed(together), strict=True):
        assert torch.equal(cache.features(trainer.model, encoder, [image])[0], expected)


def test_a_full_cache_forgets_the_oldest(trainer: TurnGRPOTrainer, encoder: Encoder) -> None:
    cache = VisionCache(max_bytes=1)
    images = [encoder.image(shown(p)) for p in ("p1", "p2")]
    cache.features(trainer.model, encoder, images)
    cache.features(trainer.model, encoder, images)
    assert cache.misses == 3


def test_projection_in_chunks_changes_nothing(
    checkpoint: Path, tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_trainer(checkpoint, tmp_path / "a", bandit_config())
    whole.model.double()  # what float32 rounds differs from processor to processor
    expected = gradients(whole, seven_rows(encoder))
    from visor_core.training import forward

    monkeypatch.setattr(forward, "CHUNK_ELEMENTS", 200)
    calls: list[int] = []
    head = whole.model.get_output_embeddings()
    head.register_forward_hook(lambda module, given, output: calls.append(len(given[0])))
    same(expected, gradients(whole, seven_rows(encoder)), tolerance=1e-12)
    # A sharded head is gathered by every call of it: as many calls as chunks would differ between processes.
    assert calls == [13], "one call, forward and backward, for the 13 tokens of five chunks"


def test_other_calls_of_the_model_are_unchanged(trainer: TurnGRPOTrainer, encoder: Encoder) -> None:
    from tests.tiny_model import build_model

    plain = build_model().eval()
    patched = build_model().eval()
    add_row_head(patched, temperature=0.5, forbidden=[3])
    ids = torch.tensor([[2, 17, 18, 19]])
    with torch.no_grad():
        assert torch.equal(plain(input_ids=ids).logits, patched(input_ids=ids).logits)


@given(
    made=st.lists(st.tuples(st.integers(2, 60), st.integers(2, 4)), min_size=1, max_size=40),
    budget=st.integers(8, 200),
    processes=st.integers(1, 4),
)
def test_a_plan_holds_every_row_once_and_is_even(made: list[tuple[int, int]], budget: int, processes: int) -> None:
    """Rows of one length that say the same are equal and count once."""
    rows = [TurnRow(i, "g", 0, (1,) * (n - 1), (said,), (), (), (True,)) for i, (n, said) in enumerate(made)]
    batches = plan(rows, budget, processes=processes)
    placed = [i for batch in batches for part in batch for i in part if i != FILLER]
    assert sorted(placed) == list(range(len(rows)))
    for batch in batches:
        assert len(batch) == processes
        assert len({len(part) for part in batch}) == 1
        for part in batch:
            different = {rows[i].content for i in part if i != FILLER}
            longest = max((rows[i].length for i in part if i != FILLER), default=0)
            assert len(different) <= 1 or len(different) * longest <= budget
    lead = [rows[next(i for i in itertools.chain(*b) if i != FILLER)].length for b in batches]
    assert lead == sorted(lead, reverse=True)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_what_fills_a_micro_batch_weighs_nothing(encoder: Encoder, processes: int) -> None:
    """Over all processes every row's weights stand once; where one process has a picture, all have."""
    rows = seven_rows(encoder)
    shares = [cut(rows, 40, processes=processes, rank=rank) for rank in range(processes)]
    placed = [w for share in shares for batch in share for w in batch]
    weighing = [w for w in placed if any(w.weights)]
    assert sorted(weighing, key=rows.index) == rows
    for spare in (w for w in placed if not any(w.weights)):
        assert len(spare.weights) == len(spare.advantages) == len(spare.row.completion_ids)
    for batches in zip(*shares, strict=True):
        assert len({len(batch) for batch in batches}) == 1
        assert len({any(w.row.images for w in batch) for batch in batches}) == 1
