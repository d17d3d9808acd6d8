"""The reference engine: a Hugging Face vision-language model with a KV cache (policies/decoding.py).

Draws are keyed (policies/sampling.py), so a batch of the same prompts with the same keys repeats token for token. Each
distinct picture is encoded by the vision tower once, of a batch, or as long as it is kept where weights do not change.
Left out: continuous batching (policies/vllm.py) and quantisation.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from visor_core.errors import PolicyError
from visor_core.policies.attention import use_short_rows
from visor_core.policies.base import Closing, Completion, ImageLoader, Prompt, Sampling
from visor_core.policies.decoding import Sampler, decode
from visor_core.policies.encoding import CACHE_BYTES, Encoded, Encoder, TokenBatch, distinct_images, pad_left
from visor_core.policies.gathering import Gatherer
from visor_core.policies.identity import checkpoint_digest, policy_code
from visor_core.policies.replies import with_prefix
from visor_core.policies.sampling import cut_reply, end_tokens, forbidden_tokens
from visor_core.policies.vision import (
    FEATURE_BYTES,
    VisionCache,
    as_encoder_outputs,
    grids_of,
    image_features,
    pieces_of,
    pixels_of,
    takes_features,
    takes_token_types,
)
from visor_core.policies.weights_check import UnfitWeightsError, load_model, refuse_adapter, refuse_damaged


class TransformersPolicy(Closing):
    """A checkpoint folder (or hub id) as a policy, in batches of at most `max_batch` rows.

    `cache_bytes` and `feature_bytes` are kept of encoded pictures and of their features.

    Raises:
        PolicyError: if the checkpoint cannot be loaded.
    """

    reproducible: Literal[True] = True
    _weights_digest: Callable[[], str]

    def __init__(
        self,
        checkpoint: Path | str,
        images: ImageLoader,
        *,
        dtype: str = "float32",
        device: str = "cpu",
        name: str = "",
        max_batch: int = 64,
        digests: Path | None = None,
        cache_bytes: int = CACHE_BYTES,
        feature_bytes: int = FEATURE_BYTES,
    ) -> None:
        model, processor = load_checkpoint(checkpoint, dtype=dtype, device=device)
        name = name or Path(checkpoint).name
        encoder = Encoder(processor, images, cache_bytes=cache_bytes)
        self._attach(model, encoder, name, str(checkpoint), max_batch, VisionCache(feature_bytes))
        self._weights_digest = lambda: checkpoint_digest(checkpoint, digests)

    @classmethod
    def from_model(
        cls,
        model: Any,
        processor: Any,
        images: ImageLoader,
        *,
        name: str = "live",
        checkpoint: str = "",
        max_batch: int = 64,
        vision: VisionCache | None = None,
    ) -> TransformersPolicy:
        """A policy on live weights: what a trainer rolls out. The model's mode is restored after every batch.

        `vision` keeps features of pictures: only for weights whose vision tower and projector do not change.
        """
        policy = cls.__new__(cls)
        policy._attach(model, Encoder(processor, images), name, checkpoint, max_batch, vision)
        return policy

    def _attach(
        self,
        model: Any,
        encoder: Encoder,
        name: str,
        checkpoint: str,
        max_batch: int,
        vision: VisionCache | None,
    ) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self.model = model
        use_short_rows(model)
        self.encoder = encoder
        self.max_batch = max_batch
        self.forbidden = forbidden_tokens(encoder.tokenizer, model.config)
        self.ends = end_tokens(encoder.tokenizer, model.generation_config)
        self._weights_digest = lambda: live_digest(model, encoder.processor)
        self._vision = vision
        self._closed = False
        self._takes_features = takes_features(model)
        self._takes_token_types = takes_token_types(model)
        self._gatherer = Gatherer(self.complete_batch, max_batch)

    def identity(self) -> dict[str, Any]:
        """The weights and files of the checkpoint (of live weights, as they are now), precision and batch size.

        Who shares a batch decides the rounding, so its size is part of it.
        """
        return {
            "engine": "transformers",
            "code": policy_code(__name__),
            "weights": self._weights_digest(),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "max_batch": self.max_batch,
        }

    def close(self) -> None:
        """Let go of the model and of what was kept of pictures; a model that was handed over stays its owner's."""
        self.model = self._vision = None
        self._closed = True
        self.encoder = Encoder(self.encoder.processor, self.encoder.loader, cache_bytes=0)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """One completion; calls waiting at the same time share a batch."""
        return await self._gatherer.complete(prompt, sampling)

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        """Completions in order; batches of `max_batch` rows are cut in the order given.

        Raises:
            PolicyError: if a prompt cannot be encoded, or the policy was closed.
        """
        if self._closed:
            raise PolicyError(f"the policy {self.name} was closed: load it again")
        completions: list[Completion] = []
        for start in range(0, len(prompts), self.max_batch):
            rows = [self.encoder.encode(prompt) for prompt in prompts[start : start + self.max_batch]]
            completions += self._run(rows, prompts[start : start + self.max_batch], samplings[start:][: self.max_batch])
        return completions

    def _run(
        self, rows: Sequence[Encoded], prompts: Sequence[Prompt], samplings: Sequence[Sampling]
    ) -> list[Completion]:
        started = time.perf_counter()
        keys = [(row.input_ids, *(image.ref for image in row.images)) for row in rows]
        by_key = dict(zip(keys, rows, strict=True))
        places = {key: place for place, key in enumerate(by_key)}
        copies, distinct = [places[key] for key in keys], list(by_key.values())
        padded = pad_left([row.input_ids for row in distinct], self.encoder.pad_token_id)
        device = self.model.device
        batch = TokenBatch(padded.input_ids.to(device), padded.attention_mask.to(device))
        sampler = Sampler(samplings, self.forbidden, self.ends, self.encoder.tokenizer)
        training = self.model.training
        self.model.eval()
        try:
            decode(self.model, batch, copies, sampler, self._arguments(distinct, batch.input_ids))
        finally:
            self.model.train(training)
        seconds = time.perf_counter() - started
        return [
            self._completion(row, prompt, sampling, tokens, logps, seconds)
            for row, prompt, sampling, tokens, logps in zip(
                rows, prompts, samplings, sampler.tokens, sampler.logprobs, strict=True
            )
        ]

    def _completion(
        self,
        row: Encoded,
        prompt: Prompt,
        sampling: Sampling,
        tokens: list[int],
        logprobs: list[float],
        seconds: float,
    ) -> Completion:
        kept, text, reason = cut_reply(self.encoder.tokenizer, tokens, sampling, self.ends)
        return Completion(
            text=with_prefix(text, prompt.forced_prefix, sampling.thought),
            token_ids=tuple(tokens[:kept]),
            logprobs=tuple(logprobs[:kept]),
            prompt_ids=row.input_ids,
            prompt_tokens=len(row.input_ids),
            image_tokens=row.image_tokens,
            finish_reason=reason,
            seconds=seconds,
        )

    @torch.no_grad()
    def _arguments(self, rows: Sequence[Encoded], input_ids: Tensor) -> dict[str, Any]:
        """What the model is given besides ids: precomputed features where possible, pixels elsewhere."""
        arguments: dict[str, Any] = {}
        if self._takes_token_types:
            arguments["mm_token_type_ids"] = (input_ids == self.encoder.image_token_id).long()
        images, order = distinct_images(rows)
        if not images:
            return arguments
        shown, device = [images[i] for i in order], input_ids.device
        if not self._takes_features:
            return arguments | pixels_of(self.encoder, shown, device)
        if self._vision is not None:
            features: Sequence[Tensor] = self._vision.features(self.model, self.encoder, images)
        else:
            features = image_features(self.model, pixels_of(self.encoder, images, device), pieces_of(images))
        outputs = as_encoder_outputs(self.model, [features[i] for i in order])
        return {**arguments, **grids_of(shown, device), "mm_encoder_outputs": outputs}


def live_digest(model: Any, processor: Any) -> str:
    """The digest (16 hex digits) of weights in memory, with the model's configuration and its tokenizer."""
    digest = hashlib.sha256(model.config.to_json_string(use_diff=False).encode())
    digest.update(repr(sorted(processor.tokenizer.get_vocab().items())).encode())
    digest.update(str(getattr(processor, "chat_template", "")).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def load_checkpoint(checkpoint: Path | str, *, dtype: str = "float32", device: str = "cpu") -> tuple[Any, Any]:
    """Model (eval mode) and processor of a Hugging Face folder or hub id; safetensors only, no remote code.

    Raises:
        PolicyError: naming the checkpoint and what is wrong with it; a model that lacks weights is none.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, AutoProcessor

    refuse_adapter(checkpoint)
    try:
        if Path(checkpoint).is_dir():
            refuse_damaged(Path(checkpoint))
        processor = AutoProcessor.from_pretrained(str(checkpoint), trust_remote_code=False)
        model = load_model(
            AutoModelForImageTextToText.from_pretrained,
            checkpoint,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, dtype),
        )
    except UnfitWeightsError as error:
        raise PolicyError(f"no usable checkpoint at {checkpoint}: {error}") from error
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        message = " ".join(str(error).split())
        raise PolicyError(
            f"no usable checkpoint at {checkpoint}: it must be a Hugging Face folder with a processor and safetensors "
            f"weights, or a hub id that can be reached ({message[:300]})"
        ) from error
    return model.to(device).eval(), processor
