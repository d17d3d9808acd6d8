"""Image tokens as the processors really make them: Idefics3 and SmolVLM by tiles, Qwen-VL by merged patches."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from pipelines.cli.session import resolve_profile
from tests.tiny_model import build_processor
from tests.visor_core.agent.test_smolvlm_pages import REAL, idefics
from visor_core.agent.context import image_tokens
from visor_core.config import ImageConfig, TilesConfig
from visor_core.policies.base import ImageRef, Message, Prompt
from visor_core.policies.encoding import Encoder
from visor_core.policies.image_tokens import contradiction, picture_tokens, tile_grid, tokens_settings

SMOLVLM = resolve_profile("smolvlm").agent.image


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
