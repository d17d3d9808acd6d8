"""Vision features apart from the language model: each distinct picture is encoded once and laid out per occurrence.

Rollouts and training both give features instead of pixels where the architecture takes them whole, and keep them where
the vision tower and projector do not change. Left out: families that feed vision features into inner layers (Qwen3-VL's
deepstack), which get their pictures per occurrence.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from visor_core.byte_cache import ByteCache
from visor_core.policies.base import ImageRef
from visor_core.policies.encoding import EncodedImage, Encoder

FEATURE_BYTES = 2**30
"""Memory for features where nothing else is said (`model.feature_cache_mib`)."""
GROUP_ELEMENTS = 2**20
"""Pixel values a call encodes together for a cache: many small pictures, or a single large one."""


class VisionCache:
    """Features of pictures under a frozen vision tower and projector, by reference, least recently used out first.

    A picture's features do not depend, not by a bit, on what else was asked for, so that a resumed run, which meets
    pictures in another company, computes the same: pictures are encoded in groups of a fixed size.

    Args:
        max_bytes: feature bytes kept (host memory).
    """

    def __init__(self, max_bytes: int = FEATURE_BYTES) -> None:
        self._features: ByteCache[ImageRef, Tensor] = ByteCache(max_bytes)
        self.max_bytes = max_bytes
        self.hits = 0
        self.misses = 0

    def features(self, model: Any, encoder: Encoder, images: Sequence[EncodedImage]) -> tuple[Tensor, ...]:
        """One tensor (image tokens, hidden) a picture, computed without gradient where it is not kept."""
        known = {image.ref: value for image in images if (value := self._features.get(image.ref)) is not None}
        missing = [image for image in images if image.ref not in known]
        self.hits += len(known)
        self.misses += len(missing)
        for image, value in _encoded(model, encoder, missing):
            known[image.ref] = value
            # A copy: a view would keep the features of all its group.
            kept = value.detach().to("cpu", copy=True)
            self._features.keep(image.ref, kept, kept.untyped_storage().nbytes())
        return tuple(known[image.ref].to(model.device) for image in images)


@torch.no_grad()
def _encoded(model: Any, encoder: Encoder, images: Sequence[EncodedImage]) -> Iterator[tuple[EncodedImage, Tensor]]:
    """Pictures with their features, in groups of equal shape that are filled up to their size."""
    by_shape: dict[tuple[int, ...], list[EncodedImage]] = {}
    for image in images:
        by_shape.setdefault(tuple(image.tensors["pixel_values"].shape), []).append(image)
    for shape, alike in by_shape.items():
        size = max(1, GROUP_ELEMENTS // torch.Size(shape).numel())
        for start in range(0, len(alike), size):
            group = alike[start : start + size]
            filled = group + group[-1:] * (size - len(group))
            features = image_features(model, pixels_of(encoder, filled, model.device), pieces_of(filled))
            yield from zip(group, features[: len(group)], strict=True)


def takes_features(model: Any) -> bool:
    """Whether a model accepts precomputed vision features whole (no features in inner layers)."""
    vision = getattr(model.config, "vision_config", None)
    plain = not getattr(vision, "deepstack_visual_indexes", None)
    return plain and "mm_encoder_outputs" in inspect.signature(model.forward).parameters


def takes_token_types(model: Any) -> bool:
    """Whether a model derives multimodal positions from which tokens stand for pictures."""
    return "mm_token_type_ids" in inspect.signature(model.forward).parameters


def pieces_of(images: Sequence[EncodedImage]) -> tuple[int, ...]:
    """Tiles (or patch rows) of each picture in the stacked pixel tensor."""
    return tuple(len(image.tensors["pixel_values"]) for image in images)


def pixels_of(encoder: Encoder, images: Sequence[EncodedImage], device: torch.device) -> dict[str, Tensor]:
    """Stacked pictures on a device, as the model's own arguments."""
    return {key: value.to(device) for key, value in encoder.stack(images).items()}


def grids_of(images: Sequence[EncodedImage], device: torch.device) -> dict[str, Tensor]:
    """What families with multimodal positions derive them from (`image_grid_thw`), one an occurrence."""
    keys = [key for key in images[0].tensors if key.endswith("grid_thw")] if images else []
    return {key: torch.cat([image.tensors[key] for image in images]).to(device) for key in keys}


def image_features(model: Any, pixels: dict[str, Tensor], pieces: Sequence[int]) -> list[Tensor]:
    """Projected features of stacked pictures, one tensor a picture, image tokens flat: (tokens, hidden)."""
    pooled = model.get_image_features(**pixels, return_dict=True).pooler_output
    if isinstance(pooled, Tensor):
        return [part.flatten(0, -2) for part in pooled.split(list(pieces))]
    return list(pooled)


def as_encoder_outputs(model: Any, features: Sequence[Tensor]) -> dict[str, Any]:
    """Features, one an occurrence, as the argument `mm_encoder_outputs` of a family's forward pass."""
    # Qwen-VL models take one feature tensor a picture, the Idefics family one flat tensor.
    flat = "idefics" in model.config.model_type or "smolvlm" in model.config.model_type
    pooled: Any = torch.cat(tuple(features)).unsqueeze(0) if flat else tuple(features)
    return {"image": BaseModelOutputWithPooling(pooler_output=pooled)}
