"""The nano model: any text survives its tokenizer, its folder loads with stock classes, its parts start as meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from visor_core.agent.prompts import COMPACT_VOCABULARY
from visor_core.nano.model import (
    IMAGE_SIDE,
    IMAGE_TOKENS,
    NUMBERS,
    build_model,
    build_processor,
    build_tokenizer,
    save_checkpoint,
    vocabulary,
)
from visor_core.policies.base import ImageRef, Message, Prompt
from visor_core.policies.encoding import Encoder
from visor_core.policies.transformers import load_checkpoint


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The tokenizer."""
    return build_tokenizer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved untrained checkpoint."""
    path = tmp_path_factory.mktemp("model")
    processor = build_processor()
    save_checkpoint(build_model(processor.tokenizer, seed=0), processor, path)
    return path


def test_every_word_is_one_token_with_and_without_a_space(tokenizer: Any) -> None:
    for word in vocabulary():
        assert len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1, word
        assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1, word
    assert set(COMPACT_VOCABULARY) <= set(vocabulary())


def test_a_number_below_three_hundred_is_one_token_and_replies_are_short(tokenizer: Any) -> None:
    pieces = tokenizer.tokenize("<think> acme staff q3 47</think><bbox>[0,3,10,6]</bbox><answer> 186</answer>")
    assert pieces == [
        "<think>", "Ġacme", "Ġstaff", "Ġq3", "Ġ47", "</think>",
        "<bbox>", "[", "0", ",", "3", ",", "10", ",", "6", "]", "</bbox>",
        "<answer>", "Ġ186", "</answer>",
    ]  # fmt: skip


def test_numbers_start_on_waves_so_that_adding_is_turning(folder: Path) -> None:
    model, processor = load_checkpoint(folder)
    ids = processor.tokenizer.convert_tokens_to_ids([f"Ġ{n}" for n in NUMBERS])
    vectors = model.get_input_embeddings().weight[ids].detach().double()
    squares = vectors.square().sum(dim=1)
    assert torch.allclose(squares, squares.mean().expand(len(NUMBERS)), rtol=1e-5)
    products = vectors @ vectors.T
    for shift in (1, 7, 93):  # how near two numbers are depends on their difference alone
        along = products.diagonal(shift)
        assert torch.allclose(along, along[0].expand_as(along), atol=1e-5)
        assert along[0] < 0.9 * squares[0]
    assert products[20, 30] > products[20, 33]  # the same ones are nearer than others as far away


@given(st.text(max_size=60))
def test_any_text_comes_back(text: str) -> None:
    tokenizer = build_tokenizer()
    special = set(tokenizer.all_special_tokens)
    if any(token in text for token in special):
        return
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_protocol_tags_are_ordinary_tokens(tokenizer: Any) -> None:
    assert not {"<think>", "<answer>", "<bbox>"} & set(tokenizer.all_special_tokens)


def test_the_folder_loads_with_stock_classes_and_the_same_weights(folder: Path) -> None:
    model, processor = load_checkpoint(folder)
    fresh = build_model(processor.tokenizer, seed=0)
    assert type(model).__name__ == "Idefics3ForConditionalGeneration"
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))
    assert sum(p.numel() for p in model.parameters()) < 3_000_000
    assert (folder / "model.safetensors").is_file()
    assert not list(folder.glob("*.bin"))


def test_the_output_layer_is_the_embedding_and_attention_starts_out_copying(folder: Path) -> None:
    model, _ = load_checkpoint(folder)
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    for layer in model.model.text_model.layers:
        product = layer.self_attn.o_proj.weight @ layer.self_attn.v_proj.weight
        assert torch.allclose(product, torch.eye(len(product)), atol=1e-4)


def test_a_prompt_with_a_picture_goes_through_the_processor_path(folder: Path) -> None:
    _, processor = load_checkpoint(folder)
    picture = Image.new("RGB", (IMAGE_SIDE, IMAGE_SIDE), (250, 250, 250))
    encoder = Encoder(processor, lambda ref: picture)
    prompt = Prompt(
        (
            Message("system", ("search read answer",)),
            Message(
                "user", ("evidence", "page", ImageRef("d/00001", IMAGE_SIDE, IMAGE_SIDE), "question acme staff q3")
            ),
        )
    )
    encoded = encoder.encode(prompt)
    assert encoded.image_tokens == IMAGE_TOKENS
    text = processor.tokenizer.decode([i for i in encoded.input_ids if i != encoder.image_token_id])
    assert text.startswith("<system> search read answer<user> evidence page")
    assert text.endswith("question acme staff q3<assistant>")


@pytest.mark.parametrize("colour", [(0, 0, 0), (115, 115, 115), (128, 128, 128), (255, 255, 255)])
def test_a_plain_picture_is_never_taken_for_padding(folder: Path, colour: tuple[int, int, int]) -> None:
    """Idefics3 drops pictures whose pixels are all zero."""
    model, processor = load_checkpoint(folder)
    picture = Image.new("RGB", (IMAGE_SIDE, IMAGE_SIDE), colour)
    output = processor(text=["<image>"], images=[[picture]], return_tensors="pt")
    assert float(output["pixel_values"].abs().max()) > 0
    with torch.no_grad():
        features = model.get_image_features(pixel_values=output["pixel_values"], return_dict=True).pooler_output
    assert features.shape[-2] == IMAGE_TOKENS
