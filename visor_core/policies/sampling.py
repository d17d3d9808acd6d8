"""What every engine samples by: keyed noise, seeds, the tokens that may never be sampled, and where a reply ends.

Gumbel-max (argmax of log p + Gumbel noise is a draw from p) makes a draw a pure function of the distribution and the
key, so reference mode repeats itself whatever else runs. Noise is Philox counter-based: one counter block a token.
"""

from __future__ import annotations

import bisect
import hashlib
import re
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visor_core.policies.base import FinishReason, Sampling
from visor_core.policies.replies import stop_end

# Special tokens that open, close or stand for a picture, as families write them (Idefics3, SmolVLM, Qwen-VL, Llava).
_IMAGE_TOKEN = re.compile(r"<.*(image|img|vision|video|row_\d+_col_\d+).*>", re.IGNORECASE)
_IMAGE_ID_FIELDS = (
    "image_token_id",
    "image_token_index",
    "video_token_id",
    "vision_token_id",
    "vision_start_token_id",
    "vision_end_token_id",
)


def _digest(key: Sequence[int]) -> bytes:
    """16 bytes that name a sampling key; integers are hashed with their count, so (1, 2) and (12,) differ."""
    return hashlib.blake2b(struct.pack(f"<{len(key)}q", *key), digest_size=16).digest()


def derive_seed(key: Sequence[int]) -> int:
    """A 63-bit seed for engines that take one seed a request."""
    return int.from_bytes(_digest(key)[:8], "little") >> 1


def gumbel_noise(key: Sequence[int], token_index: int, size: int) -> NDArray[np.float32]:
    """Standard Gumbel noise of shape (size,) for the `token_index`-th sampled token of a completion."""
    philox = np.random.Philox(key=int.from_bytes(_digest(key), "little"), counter=token_index << 64)
    uniform = np.random.Generator(philox).random(size)
    # random() lies in [0, 1); the smallest positive double keeps the logarithm finite at 0.
    return (-np.log(-np.log(np.maximum(uniform, np.finfo(np.float64).tiny)))).astype(np.float32)


def forbidden_tokens(tokenizer: Any, config: Any) -> tuple[int, ...]:
    """Ids that stand for, open or close pictures (sampled, they would leave image tokens without image features), and
    the padding id where it ends nothing (sampled, it would be masked as padding)."""
    ids = {getattr(config, field, None) for field in _IMAGE_ID_FIELDS}
    ids |= {int(i) for token, i in tokenizer.get_vocab().items() if token[:1] == "<" and _IMAGE_TOKEN.fullmatch(token)}
    if tokenizer.pad_token_id != tokenizer.eos_token_id:
        ids.add(tokenizer.pad_token_id)
    return tuple(sorted(i for i in ids if isinstance(i, int)))


def end_tokens(tokenizer: Any, generation_config: Any) -> tuple[int, ...]:
    """Ids that end a reply: the model's own list, or else the tokenizer's end token."""
    ids = getattr(generation_config, "eos_token_id", None)
    ids = tokenizer.eos_token_id if ids is None else ids
    if ids is None:
        return ()
    return (ids,) if isinstance(ids, int) else tuple(ids)


def cut_reply(
    tokenizer: Any, tokens: Sequence[int], sampling: Sampling, ends: Sequence[int]
) -> tuple[int, str, FinishReason]:
    """Tokens kept (the end token included), their text without it, and why the reply ended.

    A reply ends at the first end token, at the token that completes a stop string outside the thought (the string stays
    in the text, and an end token right after it belongs to the reply, so that a policy taught to write one still learns
    it), or at `max_tokens`.
    """
    limit = min(len(tokens), sampling.max_tokens)
    end = next((i for i in range(limit) if tokens[i] in ends), None)
    kept = limit if end is None else end + 1
    body = list(tokens[: kept if end is None else end])
    text = tokenizer.decode(body, clean_up_tokenization_spaces=False)
    stop = stop_end(text, sampling.stop, sampling.thought)
    if stop is None:
        return kept, text, "length" if end is None else "stop"
    if stop < len(text):

        def stopped(count: int) -> bool:
            part = tokenizer.decode(body[:count], clean_up_tokenization_spaces=False)
            return stop_end(part, sampling.stop, sampling.thought) is not None

        body = body[: bisect.bisect_left(range(1, len(body)), True, key=stopped) + 1]
    follows = len(body) < limit and tokens[len(body)] in ends
    return len(body) + follows, text[:stop], "stop"
