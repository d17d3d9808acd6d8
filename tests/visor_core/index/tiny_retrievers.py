"""Late-interaction retrievers of a few thousand random weights, as the Hugging Face folders that real ones come in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

DIMENSION = 16
"""Length of a token's vector; real retrievers have 128."""

_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}


def save_colmodernvbert(folder: Path) -> Path:
    """ColModernVBert over the tests' Idefics3: 4 tokens a picture, pictures in one piece."""
    from transformers import ColModernVBertConfig, ColModernVBertForRetrieval, ColModernVBertProcessor

    from tests.tiny_model import build_model, build_processor

    torch.manual_seed(0)
    base, processor = build_model(), build_processor()
    config = ColModernVBertConfig(vlm_config=base.config.to_dict(), embedding_dim=DIMENSION)
    ColModernVBertForRetrieval(config).save_pretrained(folder)
    ColModernVBertProcessor(
        image_processor=processor.image_processor,
        tokenizer=processor.tokenizer,
        image_seq_len=processor.image_seq_len,
        visual_prompt_prefix="<image>",
    ).save_pretrained(folder)
    return folder


def save_colpali(folder: Path) -> Path:
    """ColPali over PaliGemma: 32 × 32 pixels, 4 × 4 patches."""
    from transformers import ColPaliConfig, ColPaliForRetrieval, ColPaliProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    from tests.tiny_model import build_tokenizer

    torch.manual_seed(0)
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    images.image_seq_length = 16
    processor = ColPaliProcessor(images, build_tokenizer())
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "vision_use_head": False,
    }
    text = {"model_type": "gemma", "vocab_size": len(processor.tokenizer), "head_dim": 16, **_TEXT}
    base = {
        "model_type": "paligemma",
        "text_config": text,
        "vision_config": vision,
        "image_token_index": processor.image_token_id,
        "image_token_id": processor.image_token_id,
        "projection_dim": 32,
    }
    ColPaliForRetrieval(ColPaliConfig(vlm_config=base, embedding_dim=DIMENSION)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_colqwen2(folder: Path) -> Path:
    """ColQwen2 over Qwen2-VL: pictures keep their shape, a token for every 16 × 16 pixels."""
    from transformers import ColQwen2Config, ColQwen2ForRetrieval, ColQwen2Processor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from tests.tiny_model import build_tokenizer

    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    marks = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    token = tokenizer.convert_tokens_to_ids
    images = Qwen2VLImageProcessorPil(min_pixels=16 * 16, max_pixels=96 * 96, patch_size=8, merge_size=2)
    processor = ColQwen2Processor(images, tokenizer)
    base = {
        "model_type": "qwen2_vl",
        "text_config": {
            **_TEXT,
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0},
        },
        "vision_config": {
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 8,
            "spatial_merge_size": 2,
        },
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
    }
    ColQwen2ForRetrieval(ColQwen2Config(vlm_config=base, embedding_dim=DIMENSION)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "colmodernvbert": save_colmodernvbert,
    "colpali": save_colpali,
    "colqwen2": save_colqwen2,
}
"""Model type → what writes such a retriever into a folder."""
