"""Pages and crops as SmolVLM is shown them: their shape kept, and as many tokens estimated as its processor makes."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image
from transformers import Idefics3Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from pipelines.cli.session import resolve_profile
from tests.tiny_model import TEMPLATE, build_tokenizer
from visor_core.agent.context import image_tokens
from visor_core.agent.correction import crop_reference, page_reference
from visor_core.geometry import Box
from visor_core.policies.base import ImageRef

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


def test_pages_and_crops_of_smolvlm_keep_their_aspect_ratio() -> None:
    for size in (A4, (842.0, 595.0), (1280.0, 720.0)):
        shown = page_reference("p", size, SMOLVLM)
        assert shown.width / shown.height == pytest.approx(size[0] / size[1], rel=0.01)
    region = Box(0.1, 0.1, 0.9, 0.3)
    crop = crop_reference("p", region, A4, SMOLVLM)
    assert crop.width / crop.height == pytest.approx(0.8 * A4[0] / (0.2 * A4[1]), rel=0.01)
