"""Image tokens as the processors really make them: Idefics3 and SmolVLM by tiles, Qwen-VL by merged patches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Idefics3Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from pipelines.cli.session import resolve_profile
from tests.tiny_model import TEMPLATE, build_processor, build_tokenizer
from visor_core.agent.context import image_tokens
from visor_core.agent.correction import crop_reference, page_reference
from visor_core.config import ImageConfig, TilesConfig
from visor_core.geometry import Box
from visor_core.policies.base import ImageRef, Message, Prompt
from visor_core.policies.encoding import Encoder
from visor_core.policies.image_tokens import contradiction, picture_tokens, tile_grid, tokens_settings

SMOLVLM = resolve_profile("smolvlm").agent.image
A4 = (595.0, 842.0)


def idefics(*, longest: int, side: int, tokens: int, split: bool = True) -> Any:
    """Idefics3's own processor at other sizes, with the places that its tiles are marked by as tokens."""
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [f"<row_{r}_col_{c}>" for r in range(1, 9) for c in range(1, 9)]}
    )
    pictures = Idefics3ImageProcessorPil(
        do_image_splitting=split, size={"longest_edge": longest}, max_image_size={"longest_edge": side}
    )
    return Idefics3Processor(pictures, tokenizer, image_seq_len=tokens, chat_template=TEMPLATE)


# The sizes that SmolVLM-256M and 500M come with.
REAL = idefics(longest=2048, side=512, tokens=64)


def made(processor: Any, width: int, height: int) -> int:
    """Image tokens that a processor puts in the place of a picture."""
    output = processor(text=["<image>"], images=[[Image.new("RGB", (width, height), "white")]])
    return list(output["input_ids"][0]).count(processor.tokenizer.convert_tokens_to_ids("<image>"))


@pytest.mark.parametrize("size", [(512, 512), (1448, 2048), (2048, 1152), (300, 2000), (2000, 90)])
def test_smolvlm_makes_what_is_estimated(size: tuple[int, int]) -> None:
    assert made(REAL, *size) == image_tokens([ImageRef("p", *size)], SMOLVLM)


def test_a_square_picture_of_smolvlm_takes_seventeen_tiles() -> None:
    assert image_tokens([ImageRef("p", 512, 512)], SMOLVLM) == 17 * 64 == 1088
    # A page of A4: 2,048 pixels high are four tiles, 1,448 wide are three; and the whole page as one more.
    shown = page_reference("p", A4, SMOLVLM)
    assert image_tokens([shown], SMOLVLM) == (4 * 3 + 1) * 64 == made(REAL, shown.width, shown.height)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200))
@example(127, 128)
@example(1, 200)
def test_the_grid_is_the_processor_s(width: int, height: int) -> None:
    small = Idefics3ImageProcessorPil(
        do_image_splitting=True, size={"longest_edge": 64}, max_image_size={"longest_edge": 16}
    )
    output = small([[Image.new("RGB", (width, height), "white")]], return_row_col_info=True)
    rows, columns = tile_grid(width, height, TilesConfig(longest_edge=64, side=16))
    assert (output["rows"][0][0], output["cols"][0][0]) == (rows, columns)


def test_pages_and_crops_of_smolvlm_keep_their_aspect_ratio() -> None:
    for size in (A4, (842.0, 595.0), (1280.0, 720.0)):
        shown = page_reference("p", size, SMOLVLM)
        assert shown.width / shown.height == pytest.approx(size[0] / size[1], rel=0.01)
    region = Box(0.1, 0.1, 0.9, 0.3)
    crop = crop_reference("p", region, A4, SMOLVLM)
    assert crop.width / crop.height == pytest.approx(0.8 * A4[0] / (0.2 * A4[1]), rel=0.01)


def test_pictures_of_different_tiles_are_encoded_together() -> None:
    processor = idefics(longest=64, side=16, tokens=4)
    encoder = Encoder(processor, lambda ref: Image.linear_gradient("L").resize((ref.width, ref.height)).convert("RGB"))
    refs = (ImageRef("a", 40, 60), ImageRef("b", 64, 64), ImageRef("a", 40, 60))
    encoded = encoder.encode(Prompt((Message("user", refs),)))
    tiles = ImageConfig(tiles=TilesConfig(longest_edge=64, side=16, tokens=4))
    assert encoded.image_tokens == image_tokens(refs, tiles)


def test_a_picture_of_smolvlm_takes_its_pixels_and_no_mask_beside_them() -> None:
    encoder = Encoder(REAL, lambda ref: Image.new("RGB", (ref.width, ref.height), "grey"))
    kept = encoder.image(ImageRef("p", 512, 512))
    pixels = 17 * 3 * 512 * 512 * 4
    assert pixels < kept.nbytes < 1.001 * pixels
    assert encoder.cache_bytes // kept.nbytes == 40


def test_the_settings_are_the_processor_s_own() -> None:
    assert tokens_settings(REAL) == {"tiles": SMOLVLM.tiles.model_dump()} if SMOLVLM.tiles else False
    whole = tokens_settings(build_processor())
    assert picture_tokens(900, 300, ImageConfig.model_validate(whole)) == 4

    class Pictures:
        patch_size, merge_size = 16, 2
        size = {"shortest_edge": 65536, "longest_edge": 16777216}  # noqa: RUF012

    class Qwen3:
        image_processor = Pictures()

    assert tokens_settings(Qwen3()) == {"multiple": 32}
    assert picture_tokens(640, 320, ImageConfig(multiple=32)) == 20 * 10


def test_an_estimate_that_the_processor_contradicts_is_said_with_its_remedy() -> None:
    squared = ImageConfig(min_pixels=262144, max_pixels=262144, multiple=512, pixels_per_token=4096)
    said = contradiction(REAL, squared)
    assert "estimated at 64 tokens, this model's processor makes 1088" in said
    assert "--set 'agent.image.tiles={longest_edge: 2048, side: 512, tokens: 64, split: true}'" in said
    assert contradiction(REAL, SMOLVLM) == ""
    assert (
        contradiction(
            build_processor(), ImageConfig(max_pixels=1024, min_pixels=1024, multiple=32, pixels_per_token=256)
        )
        == ""
    )
