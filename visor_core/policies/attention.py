"""Attention of short rows on a processor: plain batched products instead of the fused kernel.

PyTorch's fused CPU kernel is made for long sequences. On rows of a few hundred tokens its bfloat16 backward pass takes
several times as long as the batched matrix products it replaces (measured: six times at 16 rows of 110 tokens), and so
does one step of decoding (measured on one core, 128 rows of 100 tokens: 8.0 ms a layer in bfloat16 and 4.1 in float32,
against 1.4 and 0.7). Long rows and other devices keep the fused kernel, whose memory grows with T and not with T².
Registered with transformers as an attention implementation of its own; it is never written into a checkpoint's
configuration.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "short_rows"
SHORT = 512
"""Longest query and key, tokens, for which scores are held whole."""


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention (B, heads, T, D) → (B, T, heads, D), as transformers calls it.

    Args:
        attention_mask: (B or 1, 1, T, S), boolean (True is attended to) or additive; None means causal or all.
    """
    length, keys = query.shape[2], key.shape[2]
    if query.device.type != "cpu" or dropout or max(length, keys) > SHORT:
        attended: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs
        )
        return attended
    groups = getattr(module, "num_key_value_groups", 1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if length == 1 and not torch.is_grad_enabled():
        return _attend_once(query, key, value, attention_mask, scale, groups), None
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    causal = is_causal if is_causal is not None else bool(getattr(module, "is_causal", True))
    scores = (query * scale) @ key.transpose(-1, -2)
    if attention_mask is not None:
        scores = scores + _additive(attention_mask, scores.dtype)
    elif causal:
        seen = torch.ones((length, keys), dtype=torch.bool, device=query.device).tril(keys - length)
        scores = scores + _additive(seen, scores.dtype)
    probabilities = torch.softmax(scores, dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    return (probabilities.to(value.dtype) @ value).transpose(1, 2).contiguous(), None


def _attend_once(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, groups: int) -> Tensor:
    """One step of decoding: (B, heads, 1, D) → (B, 1, heads, D), products of at least float32.

    Many small products in bfloat16 take longer than converting them; heads that share keys make one product.
    """
    batch, heads, _, size = query.shape
    dtype = torch.promote_types(query.dtype, torch.float32)
    queries = query.reshape(batch, heads // groups, groups, size).to(dtype) * scale
    with torch.autocast("cpu", enabled=False):
        scores = queries @ key.to(dtype).transpose(-1, -2)
        if mask is not None:  # (B or 1, 1, 1, S)
            scores = scores + _additive(mask, dtype)
        attended = torch.softmax(scores, dim=-1) @ value.to(dtype)
    return attended.to(query.dtype).reshape(batch, 1, heads, size)


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean mask as 0 and the smallest number; an additive one as it is."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def use_short_rows(model: Any) -> None:
    """Switch a model on a processor that would use the fused kernel; any other is left as it is."""
    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
