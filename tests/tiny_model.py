"""A from-scratch Idefics3 of a few ten thousand parameters with its tokenizer and processor, for tests.

Untrained: it writes noise. What it shares with a real checkpoint is everything else: the Hugging Face folder, the
processor, image placeholders, special tokens. Byte-level fallback is left out: unknown words become `<unk>`.
"""

# ruff: noqa: SIM905  (word lists read better as text)
from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from visor_core.policies.base import Completion, ImageRef, Message, Prompt
from visor_core.policies.transformers import TransformersPolicy

IMAGE_SIZE = 32
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
WORDS = (
    "system user assistant question page crop acme borel staff sales q1 q2 q3 q4 "
    "answer search what is the of and observation evidence none read look higher lower sum"
).split()
TAGS = ["<think>", "</think>", "<search>", "</search>", "<bbox>", "</bbox>", "<answer>", "</answer>"]
SPECIAL = ["<pad>", "<unk>", "<|im_start|>", "<end_of_utterance>", "<image>", "<fake_token_around_image>"]
PLACES = ["<global-img>"]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer: words, single digits and the protocol's tags."""
    words = [*SPECIAL, *PLACES, *TAGS, *WORDS, *"0123456789", *"[],.:?<>", "\n"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"</?[a-z]+>|[a-z]+[0-9]?|[0-9]|\n|[^\s]"), "removed", invert=True
    )
    tokenizer.add_special_tokens([*SPECIAL, *PLACES])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        padding_side="left",
    )


def build_processor() -> Idefics3Processor:
    """Pictures are scaled to 32×32 pixels, four image tokens each."""
    images = Idefics3ImageProcessorPil(
        do_image_splitting=False, size={"longest_edge": IMAGE_SIZE}, max_image_size={"longest_edge": IMAGE_SIZE}
    )
    return Idefics3Processor(images, build_tokenizer(), image_seq_len=4, chat_template=TEMPLATE)


def build_model(seed: int = 0, *, vocabulary: int | None = None) -> Idefics3ForConditionalGeneration:
    """The model, initialised wide enough that different contexts prefer different tokens."""
    tokenizer = build_tokenizer()
    token = tokenizer.convert_tokens_to_ids
    config = Idefics3Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": IMAGE_SIZE,
            "patch_size": 8,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": vocabulary or len(tokenizer),
            "max_position_embeddings": 1024,
            "pad_token_id": token("<pad>"),
            "bos_token_id": token("<|im_start|>"),
            "eos_token_id": token("<end_of_utterance>"),
        },
        scale_factor=2,
        image_token_id=token("<image>"),
        pad_token_id=token("<pad>"),
        bos_token_id=token("<|im_start|>"),
        eos_token_id=token("<end_of_utterance>"),
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = Idefics3ForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 2.0 * parameter[0].numel() ** -0.5, generator=generator)
    return model


def save_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Model and processor as a Hugging Face folder."""
    build_model(seed).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    return folder


def picture(ref: ImageRef) -> Image.Image:
    """An image loader: a gradient whose slope and colour follow from the reference."""
    tone = sum(ref.page_id.encode()) * 37 % 200
    image = Image.linear_gradient("L").resize((ref.width, ref.height)).rotate(tone % 4 * 90, expand=False)
    return Image.merge("RGB", (image, image.point(lambda v: (v + tone) % 256), Image.new("L", image.size, tone)))


def prompt(question: str = "what is acme staff q3 ?", pages: tuple[str, ...] = ("p1",), prefix: str = "") -> Prompt:
    """A prompt that shows the named pages, the question last."""
    shown = tuple(part for page in pages for part in ("page", ImageRef(page, IMAGE_SIZE, IMAGE_SIZE)))
    return Prompt((Message("system", ("answer",)), Message("user", (*shown, question))), forced_prefix=prefix)


def replayed_logprobs(
    policy: TransformersPolicy, shown: Prompt, completion: Completion, temperature: float
) -> list[float]:
    """Log-probabilities of a completion by one plain forward pass over prompt and reply, with raw pixels."""
    encoded = policy.encoder.encode(shown)
    ids = torch.tensor([[*encoded.input_ids, *completion.token_ids]])
    with torch.no_grad():
        logits = policy.model(input_ids=ids, **policy.encoder.stack(encoded.images)).logits[0]
    logits = logits[len(encoded.input_ids) - 1 : -1] / temperature
    logits[:, list(policy.forbidden)] = float("-inf")
    picked = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(completion.token_ids)[:, None])
    return [float(value) for value in picked.squeeze(1)]
