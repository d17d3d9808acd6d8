"""A toy Qwen2.5-VL and an encoder for it that needs no processor (that of Qwen needs torchvision)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from visor_core.policies.base import ImageRef
from visor_core.policies.encoding import EncodedImage

START, IMAGE, END = 90, 91, 92


def build_qwen(
    *, width: int = 32, layers: int = 2, heads: int = 4, vocabulary: int = 96, vision: int = 32, depth: int = 2,
    intermediate: int = 64, key_value_heads: int = 2, vision_intermediate: int = 64, window: int = 56,
    whole: Sequence[int] = (), tied: bool = False,
) -> Qwen2_5_VLForConditionalGeneration:  # fmt: skip
    """Randomly initialised; the defaults are a toy. `whole` names the vision layers that attend beyond a window."""
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": width,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": key_value_heads,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": _sections(width // heads // 2),
            },
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config={
            "depth": depth,
            "hidden_size": vision,
            "intermediate_size": vision_intermediate,
            "num_heads": max(2, vision // 80),
            "out_hidden_size": width,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": window,
            "fullatt_block_indexes": list(whole) or [depth - 1],
        },
        image_token_id=IMAGE,
        vision_start_token_id=START,
        vision_end_token_id=END,
        video_token_id=93,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    return Qwen2_5_VLForConditionalGeneration(config)


def _sections(half: int) -> list[int]:
    side = half * 3 // 8
    return [half - 2 * side, side, side]


class QwenEncoder:
    """What collation needs of an encoder: ids and patches of a picture, at `ref.width` × `ref.height` pixels."""

    pad_token_id = 0
    image_token_id = IMAGE

    def image(self, ref: ImageRef) -> EncodedImage:
        """Random patches seeded by the reference."""
        rows, columns = ref.height // 14, ref.width // 14
        generator = torch.Generator().manual_seed(zlib.crc32(repr(ref).encode()))
        patches = torch.randn(rows * columns, 3 * 2 * 14 * 14, generator=generator)
        ids = (START, *(IMAGE,) * (rows * columns // 4), END)
        return EncodedImage(ref, ids, {"pixel_values": patches, "image_grid_thw": torch.tensor([[1, rows, columns]])})

    def stack(self, images: Sequence[EncodedImage]) -> dict[str, Tensor]:
        """Patches and grids in order."""
        keys: Sequence[Any] = ("pixel_values", "image_grid_thw")
        return {key: torch.cat([image.tensors[key] for image in images]) for key in keys}
