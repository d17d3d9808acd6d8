"""Plain attention of short rows equals the fused kernel, gradients included, and is what training on a CPU uses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from visor_core.policies import attention
from visor_core.policies.attention import attend
from visor_core.training.loop import load_for_training


def both(length: int, *, causal: bool, groups: int, mask: torch.Tensor | None) -> list[list[torch.Tensor]]:
    """Output and gradients of the fused kernel and of `attend`, in float64."""
    found = []
    module = SimpleNamespace(num_key_value_groups=groups, is_causal=causal)
    for function in (sdpa_attention_forward, attend):
        generator = torch.Generator().manual_seed(length)
        shapes = [(2, 4, length, 8), (2, 4 // groups, length, 8), (2, 4 // groups, length, 8)]
        states = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
        output, _ = function(module, *states, mask, scaling=0.3)
        output.pow(3).sum().backward()
        found.append([output.detach(), *(s.grad for s in states if s.grad is not None)])
    return found


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("masked", [True, False])
def test_equals_the_fused_kernel(causal: bool, groups: int, masked: bool) -> None:
    mask = None
    if masked:
        mask = torch.ones(2, 1, 7, 7, dtype=torch.bool).tril()
        mask[1, :, :, 0] = False
        mask[1, :, 0, 0] = True
    fused, plain = both(7, causal=causal, groups=groups, mask=mask)
    assert len(fused) == 4
    for left, right in zip(fused, plain, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_step_of_decoding_equals_the_fused_kernel(groups: int, masked: bool, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(groups)
    shapes = [(3, 4, 1, 8), (3, 4 // groups, 9, 8), (3, 4 // groups, 9, 8)]
    query, key, value = (torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes)
    mask = torch.ones(3, 1, 1, 9, dtype=torch.bool) if masked else None
    if mask is not None:
        mask[1, :, :, :4] = False
    module = SimpleNamespace(num_key_value_groups=groups, is_causal=True)
    with torch.no_grad():
        exact, _ = sdpa_attention_forward(module, query.double(), key.double(), value.double(), mask, scaling=0.3)
        plain, _ = attend(module, query, key, value, mask, scaling=0.3)
    assert plain.dtype == dtype
    torch.testing.assert_close(plain.double(), exact, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-2)


def test_long_rows_keep_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []

    def fused(module: object, query: torch.Tensor, *rest: object, **named: object) -> tuple[torch.Tensor, None]:
        called.append(query.shape[2])
        return query, None

    monkeypatch.setattr(attention, "sdpa_attention_forward", fused)
    for length in (1, 8, attention.SHORT, attention.SHORT + 1):
        attend(SimpleNamespace(is_causal=True), *(torch.zeros(1, 1, length, 2),) * 3, None)
    assert called == [attention.SHORT + 1]


def test_engine_and_training_use_it_and_checkpoints_do_not_name_it(checkpoint: Path, tmp_path: Path) -> None:
    model, _ = load_for_training(checkpoint)
    for part in (model, model.model.text_model, model.model.vision_model):
        assert part.config._attn_implementation == attention.NAME
    model.save_pretrained(tmp_path)
    assert attention.NAME not in json.dumps(json.loads((tmp_path / "config.json").read_text()))
