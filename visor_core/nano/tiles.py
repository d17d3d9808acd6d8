"""A page in full resolution for the nano model: the way of its family, a large picture cut into tiles plus an overview.

Idefics3's processor cuts a 384×384 picture into nine tiles of 128×128 and adds the overview: 160 image tokens in place
of 16. The model stays the same but for one new token a tile, which says where it lies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from visor_core.nano.model import EMBEDDING_STD, IMAGE_SIDE, save_checkpoint

TILES = 3
PAGE_SIDE = TILES * IMAGE_SIDE
"""Pixels of a full-resolution page: values are then as sharp as in a crop."""


def with_tiles(base: Path, output: Path, seed: int) -> None:
    """Save the model in `base` once more with a processor that cuts pictures into tiles.

    Raises:
        PolicyError: if `base` is no usable checkpoint.
    """
    from visor_core.policies.transformers import load_checkpoint

    model, processor = load_checkpoint(base)
    processor.image_processor.do_image_splitting = True
    processor.image_processor.size = {"longest_edge": PAGE_SIDE}
    names = [f"<row_{row}_col_{column}>" for row in range(1, TILES + 1) for column in range(1, TILES + 1)]
    known = len(processor.tokenizer)
    processor.tokenizer.add_tokens(names, special_tokens=True)
    model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    _start_new_words(model, known, seed)
    save_checkpoint(model, processor, output)


def _start_new_words(model: Any, known: int, seed: int) -> None:
    """New embeddings as the model's own were at the start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.get_input_embeddings().weight[known:].normal_(0.0, EMBEDDING_STD, generator=generator)
