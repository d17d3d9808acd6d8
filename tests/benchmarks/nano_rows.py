"""Rows and a model of the nano world's shape for the training benchmarks, without the world."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from tests.tiny_model import TEMPLATE, build_tokenizer
from visor_core.geometry import Box
from visor_core.policies.base import ImageRef
from visor_core.policies.encoding import Encoder
from visor_core.training.batching import WeightedRow
from visor_core.training.rows import TurnRow

SIZE = 128
IMAGE_TOKENS = 16


def build_processor() -> Idefics3Processor:
    """128×128 pictures, 16 tokens each."""
    images = Idefics3ImageProcessorPil(
        do_image_splitting=False, size={"longest_edge": SIZE}, max_image_size={"longest_edge": SIZE}
    )
    return Idefics3Processor(images, build_tokenizer(), image_seq_len=IMAGE_TOKENS, chat_template=TEMPLATE)


def build_model(
    seed: int = 0, width: int = 160, layers: int = 4, vision: int = 128
) -> Idefics3ForConditionalGeneration:
    """The prototype's sizes: 128 wide × 3 vision layers, patch 16, scale 2; Llama 160 × 4 with 4 heads."""
    tokenizer = build_tokenizer()
    token = tokenizer.convert_tokens_to_ids
    ends: dict[str, Any] = {
        "pad_token_id": token("<pad>"),
        "bos_token_id": token("<|im_start|>"),
        "eos_token_id": token("<end_of_utterance>"),
    }
    torch.manual_seed(seed)
    return Idefics3ForConditionalGeneration(
        Idefics3Config(
            vision_config={
                "hidden_size": vision,
                "intermediate_size": 4 * vision,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "image_size": SIZE,
                "patch_size": 16,
            },
            text_config={
                "model_type": "llama",
                "hidden_size": width,
                "intermediate_size": 4 * width,
                "num_hidden_layers": layers,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "vocab_size": len(tokenizer),
                "max_position_embeddings": 1024,
                **ends,
            },
            scale_factor=2,
            image_token_id=token("<image>"),
            tie_word_embeddings=False,
            **ends,
        )
    )


def save(folder: Path, seed: int = 0, **sizes: int) -> Path:
    """Model and processor as a Hugging Face folder."""
    build_model(seed, **sizes).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    return folder


def picture(ref: ImageRef) -> Image.Image:
    """A gradient that depends on the reference."""
    tone = sum(ref.page_id.encode()) * 37 % 200 + int(ref.box.x0 * 50)
    image = Image.linear_gradient("L").resize((ref.width, ref.height)).rotate(tone % 4 * 90)
    return Image.merge("RGB", (image, image.point(lambda v: (v + tone) % 256), Image.new("L", image.size, tone)))


def rollout_rows(encoder: Encoder, *, groups: int = 8, rollouts: int = 8, seed: int = 0) -> list[WeightedRow]:
    """Turn rows with the length distribution of nano rollouts: 3 to 7 turns, 0 to 2 pictures, replies of 5–13 tokens.

    Rollouts of a group look at the same few pages and crops, as real ones do.
    """
    draw = random.Random(seed)
    words = list(range(20, len(encoder.tokenizer)))
    rows = []
    for group in range(groups):
        for rollout in range(rollouts):
            turns = draw.randint(3, 7)
            for turn in range(turns):
                refs = [_reference(group, draw) for _ in range(min(turn, 2))]
                prompt: list[int] = draw.choices(words, k=8)
                for ref in refs:
                    prompt += [*encoder.image(ref).ids, *draw.choices(words, k=6)]
                prompt += draw.choices(words, k=5 * draw.randint(0, turn) + 9)
                reply = tuple(draw.choices(words, k=draw.randint(5, 13)))
                row = TurnRow(
                    rollout=group * rollouts + rollout,
                    group=f"g{group}",
                    turn=turn,
                    prompt_ids=tuple(prompt),
                    completion_ids=reply,
                    images=tuple(refs),
                    old_logprobs=(),
                    mask=(True,) * len(reply),
                )
                value = draw.gauss(0, 1)
                rows.append(WeightedRow(row, (value,) * len(reply), (1.0,) * len(reply)))
    return rows


def _reference(group: int, draw: random.Random) -> ImageRef:
    page = f"g{group}p{draw.randint(0, 2)}"
    if draw.random() < 0.5:
        return ImageRef(page, SIZE, SIZE)
    x, y = draw.randint(0, 2) / 10, draw.randint(0, 1) / 10
    return ImageRef(page, SIZE, SIZE, Box(x, y, x + 0.3, y + 0.3))
