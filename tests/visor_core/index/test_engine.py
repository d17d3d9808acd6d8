"""ColQwen2.5 and ColSmol of random weights through colpali-engine (extra `colpali`, an environment of its own)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.conftest import ANIMALS, ingest
from visor_core.config import IndexConfig
from visor_core.errors import MissingDependencyError
from visor_core.index import PageIndex, load_embedders
from visor_core.index.embedders.engine import EngineEmbedder
from visor_core.index.explain import similarity_maps
from visor_core.index.multivector import max_sim

INSTALLED = importlib.util.find_spec("colpali_engine") is not None


@pytest.mark.skipif(INSTALLED, reason="the extra `colpali` is installed")
@pytest.mark.parametrize("name", ["colqwen2.5", "colsmol"])
def test_without_the_extra_it_is_named(name: str) -> None:
    with pytest.raises(MissingDependencyError, match=rf"embedder {name} needs the extra `colpali`"):
        load_embedders(IndexConfig(embedders=(name,)))


def save_colsmol(folder: Path) -> Path:
    """ColIdefics3 over the tests' Idefics3."""
    import torch
    from colpali_engine.models import ColIdefics3, ColIdefics3Processor

    from tests.tiny_model import build_model, build_processor

    torch.manual_seed(0)
    ColIdefics3(build_model().config).save_pretrained(folder)
    processor = build_processor()
    ColIdefics3Processor(
        processor.image_processor, processor.tokenizer, image_seq_len=4, chat_template=processor.chat_template
    ).save_pretrained(folder)
    return folder


def save_colqwen25(folder: Path) -> Path:
    """ColQwen2.5 over Qwen2.5-VL: a token for every 16 × 16 pixels."""
    import torch
    from colpali_engine.models import ColQwen2_5, ColQwen2_5_Processor
    from transformers import Qwen2_5_VLConfig, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    from tests.tiny_model import build_tokenizer

    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    marks = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>", "<|endoftext|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    token = tokenizer.convert_tokens_to_ids
    images = Qwen2VLImageProcessor(min_pixels=16 * 16, max_pixels=96 * 96, patch_size=8, merge_size=2)
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 32,
            "num_heads": 2,
            "patch_size": 8,
            "window_size": 32,
            "fullatt_block_indexes": [1],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    ColQwen2_5(config).save_pretrained(folder)
    video = Qwen2VLVideoProcessor(min_pixels=16 * 16, max_pixels=96 * 96, patch_size=8, merge_size=2)
    ColQwen2_5_Processor(images, tokenizer, video, chat_template="").save_pretrained(folder)
    return folder


@pytest.mark.skipif(not INSTALLED, reason="the extra `colpali` is not installed")
@pytest.mark.parametrize("name", ["colqwen2.5", "colsmol"])
def test_a_model_of_the_engine_is_a_multi_vector_column(tmp_path: Path, name: str) -> None:
    folder = {"colqwen2.5": save_colqwen25, "colsmol": save_colsmol}[name](tmp_path / "model")
    config = IndexConfig(embedders=(f"{name}:{folder}",))
    source = write_pdf(tmp_path / "a.pdf", ANIMALS)
    _, _, built = ingest(tmp_path / "corpus", [source], index=config)
    assert built.embedded == 3
    index = PageIndex.open(tmp_path / "corpus")
    (vector,) = index.manifest.vectors
    assert (vector.dimension, vector.multi_vector) == (128, True)
    stored = index.vectors(vector, "page > 0")
    embedder = index.embedder(vector)
    assert isinstance(embedder, EngineEmbedder)
    query = np.asarray(embedder.embed_query("acme staff q3"))
    expected = sorted(stored, key=lambda i: (-max_sim(query, stored[i]), i))
    assert index.rankings("acme staff q3", 3, "vector")[vector.column] == expected
    found = similarity_maps(index, "acme staff q3", expected)
    assert all(len(m.shape) == 2 and m.size > 1 for m in found.values())
