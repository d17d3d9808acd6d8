"""The row forward pass on Qwen2.5-VL's architecture: multimodal positions, features a picture, padding on the right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.visor_core.training.qwen import QwenEncoder, build_qwen
from visor_core.policies.base import ImageRef
from visor_core.policies.vision import VisionCache
from visor_core.training.batching import collate
from visor_core.training.forward import add_row_head, freeze_vision, prepare
from visor_core.training.rows import TurnRow


def rows(encoder: QwenEncoder) -> list[TurnRow]:
    """Two, one and no picture, of different sizes; one picture is shared."""
    wide, tall = ImageRef("a", 112, 56), ImageRef("b", 56, 84)
    made = []
    for number, images in enumerate(((wide, tall), (tall,), ())):
        prompt = [1]
        for ref in images:
            prompt += [*encoder.image(ref).ids, 10 + number]
        prompt += list(range(20, 24 + number))
        reply = tuple(range(30, 32 + number))
        made.append(TurnRow(number, "g", 0, tuple(prompt), reply, images, (), (True,) * len(reply)))
    return made


def stock(model: Any, encoder: QwenEncoder, row: TurnRow) -> torch.Tensor:
    """Log-probabilities of one row by the stock forward pass."""
    ids = torch.tensor([row.prompt_ids + row.completion_ids])
    pictures = encoder.stack([encoder.image(ref) for ref in row.images]) if row.images else {}
    types = (ids == encoder.image_token_id).long()
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=types, **pictures).logits[0]
    start = len(row.prompt_ids) - 1
    table = torch.log_softmax(logits[start:-1], dim=-1)
    return table.gather(1, torch.tensor(row.completion_ids).unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize("mode", ["deduplicated", "every occurrence", "cached"])
def test_rows_score_as_in_the_stock_forward_pass(mode: str) -> None:
    model, encoder = build_qwen().eval(), QwenEncoder()
    made = rows(encoder)
    with torch.no_grad():
        expected = [stock(model, encoder, row) for row in made]
    add_row_head(model, temperature=1.0, forbidden=())
    batch = collate(made, encoder)  # type: ignore[arg-type]
    assert len(batch.images) == 2
    assert batch.image_order == (0, 1, 1)
    given = prepare(
        model,
        encoder,  # type: ignore[arg-type]
        batch,
        cache=VisionCache() if mode == "cached" else None,
        deduplicate=mode != "every occurrence",
    )
    with torch.no_grad():
        log_probs, _, _ = model(row_batch=given)
    for found, wanted in zip(log_probs, expected, strict=True):
        torch.testing.assert_close(found[: len(wanted)], wanted, rtol=0, atol=1e-5)


def test_gradient_reaches_the_vision_tower_through_shared_pictures() -> None:
    encoder = QwenEncoder()
    found = []
    for way in ("rows", "stock"):
        model = build_qwen()
        made = rows(encoder)
        if way == "rows":
            add_row_head(model, temperature=1.0, forbidden=())
            model(row_batch=prepare(model, encoder, collate(made, encoder)))[0].sum().backward()  # type: ignore[arg-type]
        else:
            torch.stack([stock(model, encoder, row).sum() for row in made]).sum().backward()
        found.append({n: p.grad for n, p in model.named_parameters()})
    for name, gradient in found[1].items():
        assert gradient is not None, name
        difference = float((found[0][name] - gradient).norm())
        assert difference <= 1e-5 * max(1.0, float(gradient.norm())), name


def test_freezing_covers_tower_and_merger() -> None:
    model = build_qwen()
    freeze_vision(model)
    trainable = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trainable
    assert not any("visual" in name for name in trainable)


def test_a_text_row_needs_no_picture() -> None:
    model, encoder = build_qwen().eval(), QwenEncoder()
    row = replace(rows(encoder)[2])
    with torch.no_grad():
        expected = stock(model, encoder, row)
        add_row_head(model, temperature=1.0, forbidden=())
        log_probs, _, _ = model(row_batch=prepare(model, encoder, collate([row], encoder)))  # type: ignore[arg-type]
    torch.testing.assert_close(log_probs[0, : len(expected)], expected, rtol=0, atol=1e-5)
