"""The embedded default's model: a from-scratch Idefics3 of about two million parameters, its tokenizer and processor.

Saved as a plain Hugging Face folder (`AutoModelForImageTextToText`, `AutoProcessor`, safetensors, no remote code), so
every engine treats it as it treats a 7B model. Words of the nano world and of the compact protocol and numbers below
three hundred are one token each; anything else falls back to bytes, so any text can be encoded. Protocol tags are
ordinary tokens: text from a page that spells one is neutralised by the agent, not by the tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from visor_core.agent.prompts import COMPACT_VOCABULARY
from visor_core.files import grant_by_umask
from visor_core.nano.panels import COLUMNS, LABELS
from visor_core.nano.questions import OPERATIONS, REFUSAL, THEN
from visor_core.nano.world import COMPANIES, COVER, TOPICS

IMAGE_SIDE = 128
IMAGE_TOKENS = 16
EMBEDDING_STD = 0.1
"""Small: as output layer the same weights then start near the uniform distribution."""
NUMBERS = tuple(str(n) for n in range(300))
"""Every value, sum of three and difference, one token each: digit by digit, which of two numbers is the higher is
decided twice and the halves get mixed."""
PERIODS = (2, 5, 10, 20, 50, 100, 200, 400)
"""Of the waves a number's vector starts from."""
PAD, BOS, EOS = "<pad>", "<s>", "</s>"
# Idefics3's processor looks the first three up by these names; `<end_of_utterance>` is its end of turn, unused here.
_IMAGE_SPECIAL = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
_ROLES = ("<system>", "<user>", "<assistant>")
# One space before every text part, so that a word is one token wherever it stands.
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ ' ' + part['text'] | trim }}{% endif %}"
    "{% endfor %}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def vocabulary(tier: str = "core") -> tuple[str, ...]:
    """Words that are one token: the protocol's, the tier's world's, and those that perception is taught with."""
    words = [*COMPACT_VOCABULARY, *COMPANIES, *TOPICS, COVER, *LABELS, *OPERATIONS, *NUMBERS]
    if tier == "rich":
        words += [*COLUMNS, THEN, REFUSAL]
    return tuple(dict.fromkeys(words))


def build_tokenizer(tier: str = "core") -> PreTrainedTokenizerFast:
    """Whole words (with and without a leading space) over a byte fallback, as one Unigram model."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = [PAD, BOS, EOS, *_IMAGE_SPECIAL, *_ROLES]
    whole = [form for word in vocabulary(tier) for form in (f"Ġ{word}", word) if len(form) > 1]
    # A word's own piece must beat the sum of its bytes.
    pieces = [(piece, -20.0) for piece in alphabet] + [(piece, -1.0) for piece in dict.fromkeys(whole)]
    entries = [(token, 0.0) for token in special] + pieces
    tokenizer = Tokenizer(models.Unigram(entries, unk_id=None, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?</?[a-z]+>| ?[a-z]+[0-9]?| ?[0-9]{1,3}| ?[^\sa-z0-9]|\s"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[*_IMAGE_SPECIAL, *_ROLES],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_processor(tier: str = "core") -> Any:
    """Pictures at 128×128 pixels, sixteen tokens each; the chat template inside."""
    pictures = Idefics3ImageProcessorPil(
        do_image_splitting=False,
        size={"longest_edge": IMAGE_SIDE},
        max_image_size={"longest_edge": IMAGE_SIDE},
        # Pure white normalises to 1 and mid grey to about 0; Idefics3 drops only a picture that is 0 everywhere.
        image_mean=[0.45, 0.45, 0.45],
        image_std=[0.35, 0.35, 0.35],
    )
    return Idefics3Processor(pictures, build_tokenizer(tier), image_seq_len=IMAGE_TOKENS, chat_template=CHAT_TEMPLATE)


def build_model(tokenizer: Any, seed: int) -> Any:
    """The untrained model, fan-in initialised (transformers' 0.02 does not learn at this width)."""
    token = tokenizer.convert_tokens_to_ids
    config = Idefics3Config(
        vision_config={
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": IMAGE_SIDE,
            "patch_size": 16,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 160,
            "intermediate_size": 480,
            "num_hidden_layers": 4,
            "num_attention_heads": 5,
            "num_key_value_heads": 5,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "pad_token_id": token(PAD),
            "bos_token_id": token(BOS),
            "eos_token_id": token(EOS),
            "tie_word_embeddings": True,
        },
        scale_factor=2,
        image_token_id=token("<image>"),
        pad_token_id=token(PAD),
        bos_token_id=token(BOS),
        eos_token_id=token(EOS),
        tie_word_embeddings=True,
    )
    model = Idefics3ForConditionalGeneration(config)
    initialise(model, token([f"Ġ{n}" for n in NUMBERS]), seed)
    return model


def initialise(model: Any, numbers: Sequence[int], seed: int) -> None:
    """Fan-in weights; attention starts out copying: what a head reads, it writes back unchanged.

    With embeddings tied to the output layer, a word attended to is then at once a word made more likely, so that only
    *where* to look has to be learned. Numbers start as points on waves (`number_vectors`).

    Args:
        numbers: token ids of 0, 1, 2 …
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)) and module is not model.lm_head:
                module.weight.normal_(0.0, module.weight[0].numel() ** -0.5, generator=generator)
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, EMBEDDING_STD, generator=generator)
        table = model.get_input_embeddings().weight
        table[list(numbers)] = number_vectors(len(numbers), table.shape[1], generator)
        for layer in model.model.text_model.layers:
            value, output = layer.self_attn.v_proj.weight, layer.self_attn.o_proj.weight
            nn.init.orthogonal_(value, generator=generator)
            output.copy_(value.T)


def number_vectors(count: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """(count, width) of 0, 1, 2 …: cosine and sine of every wave of `PERIODS`, in random directions at right angles.

    Adding turns each wave by an angle, and the short waves hold the ones, the long ones the tens and the size, so sums,
    differences and comparisons are easy to learn, and the mean of all numbers with a digit still spells the digit.
    Pretrained language models add by such waves (Zhou et al. 2024, arXiv 2406.03445).
    """
    angles = 2 * math.pi * torch.arange(count).unsqueeze(1) / torch.tensor(PERIODS)
    waves = torch.cat([angles.cos(), angles.sin()], dim=1)
    directions = torch.linalg.qr(torch.empty(width, waves.shape[1]).normal_(generator=generator))[0]
    return waves @ directions.T * EMBEDDING_STD * (width / len(PERIODS)) ** 0.5


def save_checkpoint(model: Any, processor: Any, folder: Path) -> None:
    """Model and processor as one Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    grant_by_umask(folder)
