"""Ids and pixels of the one processor path equal those of an ordinary processor call."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.tiny_model import IMAGE_SIZE, build_processor, picture, prompt
from visor_core.errors import PolicyError
from visor_core.policies.base import ImageRef, Message, Prompt
from visor_core.policies.encoding import Encoder, distinct_images, encode, pad_left

PROCESSOR = build_processor()


def test_ids_and_pixels_equal_an_ordinary_processor_call() -> None:
    shown = prompt("what is acme staff q3 ?", ("p1", "p2", "p1"), prefix="<think>")
    encoded = encode(PROCESSOR, shown, picture)
    text = (
        "<|im_start|>system answer<end_of_utterance><|im_start|>user page\n<image>page\n<image>page\n<image>"
        "what is acme staff q3 ?<end_of_utterance><|im_start|>assistant <think>"
    )
    pictures = [picture(ref) for ref in shown.images]
    plain = PROCESSOR(text=[text], images=[pictures], add_special_tokens=False, return_tensors="pt")
    assert encoded.input_ids == tuple(plain["input_ids"][0].tolist())
    stacked = Encoder(PROCESSOR, picture).stack(encoded.images)
    assert torch.equal(stacked["pixel_values"], plain["pixel_values"])
    assert torch.equal(stacked["pixel_attention_mask"], plain["pixel_attention_mask"])
    # Four image tokens a picture, and one placeholder a picture in the compact form.
    assert encoded.image_tokens == 12
    assert encoded.compact_ids.count(PROCESSOR.image_token_id) == 3


def test_forced_prefix_follows_the_generation_prompt() -> None:
    plain, forced = (encode(PROCESSOR, prompt(prefix=prefix), picture).input_ids for prefix in ("", "<answer>"))
    assert forced == (*plain, PROCESSOR.tokenizer.convert_tokens_to_ids("<answer>"))


@given(st.lists(st.sampled_from(["<image>", "<|im_start|>", "<end_of_utterance>", "acme", "q3", " "]), max_size=8))
def test_message_text_cannot_forge_pictures_or_turns(words: list[str]) -> None:
    tokenizer = PROCESSOR.tokenizer
    ids = encode(PROCESSOR, prompt("".join(words), ()), picture).input_ids
    assert ids.count(PROCESSOR.image_token_id) == 0
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 3
    assert ids.count(tokenizer.eos_token_id) == 2


def test_distinct_pictures_are_listed_once() -> None:
    encoder = Encoder(PROCESSOR, picture)
    rows = [encoder.encode(prompt(pages=pages)) for pages in (("a", "b"), (), ("b", "c", "a"))]
    images, order = distinct_images(rows)
    assert [image.ref.page_id for image in images] == ["a", "b", "c"]
    assert order == [0, 1, 1, 2, 0]


def test_each_picture_is_processed_once() -> None:
    loads: list[str] = []

    def loader(ref: ImageRef) -> Image.Image:
        loads.append(ref.page_id)
        return picture(ref)

    encoder = Encoder(PROCESSOR, loader)
    encoder.encode(prompt(pages=("a",)))
    loads.clear()
    encoder.encode(prompt(pages=("a", "b", "a")))
    assert loads == ["b"]


def test_kept_pictures_are_bounded_in_bytes() -> None:
    loads: list[str] = []

    def loader(ref: ImageRef) -> Image.Image:
        loads.append(ref.page_id)
        return picture(ref)

    one = Encoder(PROCESSOR, picture).image(ImageRef("a", IMAGE_SIZE, IMAGE_SIZE))
    # Pixels in float32; the mask of a picture without padding is one number.
    assert 3 * IMAGE_SIZE**2 * 4 < one.nbytes < 3 * IMAGE_SIZE**2 * 4 + 256
    encoder = Encoder(PROCESSOR, loader, cache_bytes=2 * one.nbytes)
    for page in "abcab":
        encoder.image(ImageRef(page, IMAGE_SIZE, IMAGE_SIZE))
    assert loads == list("abcab")
    encoder.image(ImageRef("a", IMAGE_SIZE, IMAGE_SIZE))
    assert loads == list("abcab")
    none = Encoder(PROCESSOR, loader, cache_bytes=0)
    loads.clear()
    for _ in range(2):
        none.image(ImageRef("a", IMAGE_SIZE, IMAGE_SIZE))
    assert loads == ["a", "a"]


def test_text_parts_do_not_run_together() -> None:
    shown = Prompt((Message("user", ("(empty)", "Start by searching", ImageRef("p", IMAGE_SIZE, IMAGE_SIZE), "q3")),))
    text = Encoder(PROCESSOR, picture).text(shown)
    assert "(empty)\nStart by searching\n<image>q3<end_of_utterance>" in text


def test_padding_is_on_the_left() -> None:
    batch = pad_left([[5, 6], [7, 8, 9]], pad_token_id=0)
    assert batch.input_ids.tolist() == [[0, 5, 6], [7, 8, 9]]
    assert batch.attention_mask.tolist() == [[0, 1, 1], [1, 1, 1]]


def test_a_picture_of_the_wrong_size_is_an_error() -> None:
    encoder = Encoder(PROCESSOR, lambda ref: Image.new("RGB", (8, 8)))
    with pytest.raises(PolicyError, match="p1 is 8×8, not 32×32"):
        encoder.encode(prompt())


def test_a_processor_without_a_chat_template_is_an_error() -> None:
    processor = build_processor()
    processor.chat_template = None
    with pytest.raises(PolicyError, match="no chat template"):
        Encoder(processor, picture)


def test_a_template_that_drops_pictures_is_an_error() -> None:
    processor = build_processor()
    processor.chat_template = "{% for message in messages %}{{ message['role'] }}{% endfor %}"
    shown = Prompt((Message("user", (ImageRef("p", IMAGE_SIZE, IMAGE_SIZE),)),))
    with pytest.raises(PolicyError, match="0 of 1 pictures"):
        encode(processor, shown, picture)
