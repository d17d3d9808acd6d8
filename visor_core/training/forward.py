"""Log-probabilities of sampled tokens under a live model: one forward pass a micro-batch, no needless work.

`add_row_head` gives a Hugging Face vision-language model a second way to be called, `model(row_batch=...)`, that goes
through the same wrapper (DDP, FSDP, PEFT, autocast) as any call. It runs each distinct row once, encodes each distinct
picture once and lays the features out per occurrence, projects only the states that predict sampled tokens through the
LM head, in chunks that are recomputed in the backward pass, and forbids the same tokens as sampling does. Logits are
divided by the sampling temperature. Left out: LM heads with soft caps or scales.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from visor_core.policies.encoding import EncodedImage, Encoder
from visor_core.policies.vision import (
    VisionCache,
    as_encoder_outputs,
    grids_of,
    image_features,
    pieces_of,
    pixels_of,
    takes_features,
    takes_token_types,
)
from visor_core.training.batching import RowBatch

FORBIDDEN_LOGIT = -1e9
"""Far below any logit, yet finite, so that p·log p of a forbidden token is 0 and not NaN."""
CHUNK_ELEMENTS = 32_000_000
"""Logits (tokens × vocabulary) held at once; more are projected in recomputed chunks."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelInputs:
    """A `RowBatch` as the model is given it. `pixels` or `features` hold the distinct pictures.

    `grids` has, an occurrence each, what families with multimodal positions derive them from (`image_grid_thw`).
    """

    batch: RowBatch
    pixels: dict[str, Tensor]
    pieces: tuple[int, ...]
    features: tuple[Tensor, ...] | None
    token_types: Tensor | None
    grids: dict[str, Tensor] = field(default_factory=dict)


def sharded(model: Any) -> bool:
    """Whether weights lie in pieces on several processes (FSDP2; DeepSpeed's stage 3, which numbers them)."""
    return any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters())


def prepare(
    model: Any, encoder: Encoder, batch: RowBatch, *, cache: VisionCache | None = None, deduplicate: bool = True
) -> ModelInputs:
    """Move a batch to the model's device and choose how its pictures are given (`model` unwrapped).

    Sharded weights are gathered in the model's own call, by all processes at once, so there no cache is read: it calls
    the vision tower by itself, and each process lacks other pictures.
    """
    device = model.device
    moved = batch.to(device)
    token_types = (moved.input_ids == encoder.image_token_id).long() if takes_token_types(model) else None
    if not batch.images:
        return ModelInputs(moved, {}, (), None, token_types)
    shown = [batch.images[i] for i in batch.image_order]
    grids = grids_of(shown, device)
    if cache is not None and takes_features(model) and not sharded(model):
        return ModelInputs(moved, {}, (), cache.features(model, encoder, batch.images), token_types, grids)
    if deduplicate and takes_features(model):
        images: Sequence[EncodedImage] = batch.images
    else:
        images = shown
    return ModelInputs(moved, pixels_of(encoder, images, device), pieces_of(images), None, token_types, grids)


def add_row_head(model: Any, *, temperature: float, forbidden: Sequence[int]) -> None:
    """Let `model(row_batch=ModelInputs)` return log-probabilities, entropies and hits, (B, C) each; else unchanged.

    A hit is 1 where the sampled token is also the most probable one.

    Args:
        model: the unwrapped Hugging Face model (below PEFT).
        temperature: what logits are divided by; that of sampling.
        forbidden: ids the engine never samples; they have probability 0 here too.
    """
    original = model.forward
    banned = torch.tensor(sorted(set(forbidden)), dtype=torch.long)
    as_features = takes_features(model)
    let_score(model.get_output_embeddings(), temperature, banned)

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, row_batch: ModelInputs | None = None, **kwargs: Any) -> Any:
        if row_batch is None:
            return original(*args, **kwargs)
        states = _backbone(self, row_batch, as_features)
        batch = row_batch.batch
        selected = states.flatten(0, 1)[batch.positions]
        projected = self.get_output_embeddings()(selected, batch.targets)
        shape = (batch.rows, batch.completion_width)
        scattered = []
        for values in projected:
            blank = values.new_zeros(shape[0] * shape[1])
            scattered.append(blank.index_copy(0, batch.slots, values.index_select(0, batch.sources)).view(shape))
        if not batch.images and torch.is_grad_enabled() and torch.distributed.is_initialized():
            scattered[0] = scattered[0] + _touch(self)
        return tuple(scattered)

    model.forward = types.MethodType(forward, model)


def _backbone(model: Any, inputs: ModelInputs, as_features: bool) -> Tensor:
    """Last hidden states (B, T, H)."""
    batch = inputs.batch
    arguments: dict[str, Any] = {"input_ids": batch.input_ids, "use_cache": False}
    if inputs.token_types is not None:
        # Families with multimodal rotary positions derive them from types and mask.
        arguments |= {"mm_token_type_ids": inputs.token_types, "attention_mask": batch.attention_mask}
    features = inputs.features
    if features is None and inputs.pixels and as_features:
        features = tuple(image_features(model, inputs.pixels, inputs.pieces))
    if features is not None:
        # A cache or the deduplicated stack holds distinct pictures; a full stack holds one an occurrence.
        order = batch.image_order if len(features) == len(batch.images) else range(len(features))
        arguments["mm_encoder_outputs"] = as_encoder_outputs(model, [features[i] for i in order])
        arguments |= inputs.grids
    elif inputs.pixels:
        arguments |= inputs.pixels
    return model.base_model(**arguments).last_hidden_state


def let_score(head: Any, temperature: float, banned: Tensor) -> None:
    """Let an LM head that is called with targets return log-probabilities, entropies and hits; else it projects.

    `head(states, targets)` with (n, H) and (n,) gives three tensors (n,), at least float32. Chunks are cut within this
    one call, which is where sharded weights (FSDP, DeepSpeed's stage 3) are gathered, once forward and once backward,
    however many chunks there are: a call a chunk would leave processes with other numbers of chunks waiting for each
    other. Each chunk's logits are computed again in the backward pass.
    """

    def score(states: Tensor, targets: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        dtype = torch.promote_types(states.dtype, torch.float32)
        with torch.autocast(states.device.type, enabled=False):
            bias = None if bias is None else bias.to(dtype)
            logits = F.linear(states.to(dtype), weight.to(dtype), bias) / temperature
            logits = logits.index_fill(1, banned.to(states.device), FORBIDDEN_LOGIT)
            log_probs = torch.log_softmax(logits, dim=-1)
            entropies = -(log_probs.exp() * log_probs).sum(-1)
            hits = (logits.argmax(-1) == targets).to(dtype)
        return log_probs.gather(1, targets.unsqueeze(1)).squeeze(1), entropies, hits

    def forward(self: Any, states: Tensor, targets: Tensor | None = None) -> Any:
        if targets is None:
            return type(self).forward(self, states)
        size = max(1, CHUNK_ELEMENTS // self.weight.shape[0])
        if len(targets) <= size:
            return score(states, targets, self.weight, self.bias)
        parts = [
            checkpoint(score, chunk, wanted, self.weight, self.bias, use_reentrant=False)
            for chunk, wanted in zip(states.split(size), targets.split(size), strict=True)
        ]
        log_probs, entropies, hits = zip(*parts, strict=True)
        return torch.cat(log_probs), torch.cat(entropies), torch.cat(hits)

    head.forward = types.MethodType(forward, head)


def _touch(model: Any) -> Tensor:
    """A zero that depends on every trainable parameter: DDP reduces those that a step without any picture skips.

    Sharded parameters need none (FSDP's; DeepSpeed's are empty here).
    """
    kept = [p for p in model.parameters() if p.requires_grad and p.numel() and not isinstance(p, DTensor)]
    return 0.0 * torch.stack([p.flatten()[0].float() for p in kept]).sum() if kept else torch.zeros(())


def freeze_vision(model: Any) -> int:
    """Freeze the vision tower and projector; returns the number of parameters frozen.

    They are found by name: everything under `vision_model`/`visual`/`vision_tower` and
    `connector`/`multi_modal_projector` (Qwen-VL's merger lies inside `visual`).
    """
    frozen = 0
    names = {"vision_model", "visual", "vision_tower", "connector", "multi_modal_projector"}
    for name, parameter in model.named_parameters():
        if names & set(name.split(".")):
            parameter.requires_grad_(False)
            frozen += parameter.numel()
    return frozen
