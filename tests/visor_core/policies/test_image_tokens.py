"""Qwen-VL's image-token arithmetic against transformers' own processor and vision tower."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from visor_core.config import ImageConfig
from visor_core.errors import ConfigError
from visor_core.geometry import shown_size
from visor_core.policies.image_tokens import qwen_image_tokens, qwen_resize

SCORE = ImageConfig()
SIDES = st.integers(28, 4000)


def test_hand_computed_counts() -> None:
    # 560 × 784 px is 20 × 28 patches of 28 px, 560 tokens, over 512: sides shrink by √(560/512) = 1.0458 to
    # 19.12 × 26.77 patches, rounded down.
    assert qwen_resize(560, 784, SCORE) == (19 * 28, 26 * 28)
    assert qwen_image_tokens(560, 784, SCORE) == 494
    # 448 × 560 px is 16 × 20 patches, inside 256 … 512.
    assert qwen_image_tokens(448, 560, SCORE) == 320


@given(SIDES, SIDES)
def test_agrees_with_transformers(width: int, height: int) -> None:
    expected = smart_resize(height, width, 28, min_pixels=SCORE.min_pixels, max_pixels=SCORE.max_pixels)
    assert qwen_resize(width, height, SCORE) == expected[::-1]


@given(st.floats(0.02, 50.0))
def test_a_shown_size_passes_the_processor_unchanged(ratio: float) -> None:
    width, height = shown_size(ratio, 1.0, SCORE.min_pixels, SCORE.max_pixels, SCORE.multiple)
    assert qwen_resize(width, height, SCORE) == (width, height)
    assert qwen_image_tokens(width, height, SCORE) == width * height // 28**2


def test_the_count_equals_the_image_features_of_the_vision_tower() -> None:
    budget = ImageConfig(min_pixels=4 * 28 * 28, max_pixels=16 * 28 * 28)
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": budget.min_pixels, "longest_edge": budget.max_pixels}, patch_size=14, merge_size=2
    )
    config = Qwen2_5_VLConfig(
        vision_config={"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 32},
        text_config={
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": 64,
        },
    )
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    sizes = [(w, h) for w in (30, 56, 97, 140, 333, 700) for h in (28, 61, 112, 250, 512)]
    output = processor(images=[Image.new("RGB", size, "white") for size in sizes], return_tensors="pt")
    with torch.no_grad():
        features = model.get_image_features(output["pixel_values"], output["image_grid_thw"]).pooler_output
    assert [len(feature) for feature in features] == [qwen_image_tokens(w, h, budget) for w, h in sizes]


def test_a_sliver_is_refused() -> None:
    with pytest.raises(ConfigError, match="too long and thin"):
        qwen_image_tokens(28 * 300, 28, SCORE)
