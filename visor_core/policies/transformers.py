"""The reference engine: a Hugging Face vision-language model run by `generate` with a KV cache.

Draws are keyed (policies/sampling.py), so a batch of the same prompts with the same keys repeats token for token. Each
distinct picture of a batch is encoded by the vision tower once where the architecture takes precomputed features.
Left out: continuous batching (policies/vllm.py) and quantisation.
"""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from visor_core.errors import PolicyError
from visor_core.policies.base import Completion, ImageLoader, Prompt, Sampling
from visor_core.policies.encoding import Encoded, EncodedImage, Encoder, distinct_images, pad_left
from visor_core.policies.gathering import Gatherer
from visor_core.policies.sampling import cut_reply, end_tokens, forbidden_tokens, gumbel_noise


class TransformersPolicy:
    """A checkpoint folder (or hub id) as a policy, in batches of at most `max_batch` rows.

    Raises:
        PolicyError: if the checkpoint cannot be loaded.
    """

    reproducible: Literal[True] = True

    def __init__(
        self,
        checkpoint: Path | str,
        images: ImageLoader,
        *,
        dtype: str = "float32",
        device: str = "cpu",
        name: str = "",
        max_batch: int = 64,
    ) -> None:
        model, processor = load_checkpoint(checkpoint, dtype=dtype, device=device)
        self._attach(model, processor, images, name or Path(checkpoint).name, str(checkpoint), max_batch)

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
    ) -> TransformersPolicy:
        """A policy on live weights: what a trainer rolls out. The model's mode is restored after every batch."""
        policy = cls.__new__(cls)
        policy._attach(model, processor, images, name, checkpoint, max_batch)
        return policy

    def _attach(
        self, model: Any, processor: Any, images: ImageLoader, name: str, checkpoint: str, max_batch: int
    ) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self.model = model
        self.encoder = Encoder(processor, images)
        self.max_batch = max_batch
        self.forbidden = forbidden_tokens(processor.tokenizer, model.config)
        self.ends = end_tokens(processor.tokenizer, model.generation_config)
        parameters = inspect.signature(model.forward).parameters
        self._takes_features = "mm_encoder_outputs" in parameters and hasattr(model, "get_image_features")
        self._takes_token_types = "mm_token_type_ids" in parameters
        self._gatherer = Gatherer(self.complete_batch, max_batch)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """One completion; calls waiting at the same time share a batch."""
        return await self._gatherer.complete(prompt, sampling)

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        """Completions in order; batches of `max_batch` rows are cut in the order given.

        Raises:
            PolicyError: if a prompt cannot be encoded.
        """
        completions: list[Completion] = []
        for start in range(0, len(prompts), self.max_batch):
            rows = [self.encoder.encode(prompt) for prompt in prompts[start : start + self.max_batch]]
            completions += self._run(rows, prompts[start : start + self.max_batch], samplings[start:][: self.max_batch])
        return completions

    def _run(
        self, rows: Sequence[Encoded], prompts: Sequence[Prompt], samplings: Sequence[Sampling]
    ) -> list[Completion]:
        started = time.perf_counter()
        batch = pad_left([row.input_ids for row in rows], self.encoder.pad_token_id)
        device = self.model.device
        sampler = KeyedSampler(samplings, self.forbidden, prompt_length=batch.input_ids.shape[1])
        stopper = RowStopping(samplings, self.encoder.tokenizer, prompt_length=batch.input_ids.shape[1])
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                ids = self.model.generate(
                    input_ids=batch.input_ids.to(device),
                    attention_mask=batch.attention_mask.to(device),
                    generation_config=self._generation_config(max(s.max_tokens for s in samplings)),
                    logits_processor=LogitsProcessorList([sampler]),
                    stopping_criteria=StoppingCriteriaList([stopper]),
                    **self._image_arguments(rows, batch.input_ids.to(device)),
                )
        finally:
            self.model.train(training)
        sampled = ids[:, batch.input_ids.shape[1] :].tolist()
        logprobs = torch.stack(sampler.logprobs, dim=1).tolist()
        seconds = time.perf_counter() - started
        return [
            self._completion(row, prompt, sampling, tokens, logps, seconds)
            for row, prompt, sampling, tokens, logps in zip(rows, prompts, samplings, sampled, logprobs, strict=True)
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
            text=prompt.forced_prefix + text,
            token_ids=tuple(tokens[:kept]),
            logprobs=tuple(logprobs[:kept]),
            prompt_ids=row.input_ids,
            prompt_tokens=len(row.input_ids),
            image_tokens=row.image_tokens,
            finish_reason=reason,
            seconds=seconds,
        )

    def _generation_config(self, max_new_tokens: int) -> GenerationConfig:
        """Plain decoding: every setting a checkpoint's own file could change the distribution by is given here."""
        return GenerationConfig(
            do_sample=False,
            num_beams=1,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            max_new_tokens=max_new_tokens,
            use_cache=True,
            pad_token_id=self.encoder.pad_token_id,
            bos_token_id=self.encoder.tokenizer.bos_token_id,
            eos_token_id=list(self.ends) or None,
        )

    def _image_arguments(self, rows: Sequence[Encoded], input_ids: Tensor) -> dict[str, Any]:
        """What `generate` is given for the pictures: precomputed features where possible, pixels elsewhere."""
        arguments: dict[str, Any] = {}
        if self._takes_token_types:
            arguments["mm_token_type_ids"] = (input_ids == self.encoder.image_token_id).long()
        images, order = distinct_images(rows)
        if not images:
            return arguments
        if self._takes_features:
            arguments["mm_encoder_outputs"] = {"image": self._features(images, order)}
            # Families with multimodal positions derive them from the grids, which features do not carry.
            for key in (key for key in images[0].tensors if key.endswith("grid_thw")):
                arguments[key] = torch.cat([images[i].tensors[key] for i in order]).to(input_ids.device)
        else:
            stacked = self.encoder.stack([images[i] for i in order])
            arguments |= {key: value.to(input_ids.device) for key, value in stacked.items()}
        return arguments

    def _features(self, images: Sequence[EncodedImage], order: Sequence[int]) -> Any:
        """Vision features of the distinct pictures, laid out once per occurrence."""
        pixels = {key: value.to(self.model.device) for key, value in self.encoder.stack(images).items()}
        output = self.model.get_image_features(**pixels, return_dict=True)
        if isinstance(output.pooler_output, Tensor):
            pieces = output.pooler_output.split([len(image.tensors["pixel_values"]) for image in images])
            features: Any = torch.cat([pieces[i] for i in order])
        else:
            features = tuple(output.pooler_output[i] for i in order)
        laid_out = copy.copy(output)
        laid_out.pooler_output = features
        return laid_out


class KeyedSampler(LogitsProcessor):
    """Adds keyed Gumbel noise to log p so that argmax draws from softmax(logits / T); T = 0 stays greedy.

    `logprobs` collects, a step, the (B,) log-probability of the token drawn, under softmax(logits / T) with the
    forbidden ids excluded (T = 1 for greedy rows).
    """

    def __init__(self, samplings: Sequence[Sampling], forbidden: Sequence[int], *, prompt_length: int) -> None:
        self.samplings = samplings
        self.forbidden = list(forbidden)
        self.prompt_length = prompt_length
        self.logprobs: list[Tensor] = []
        self._temperatures = torch.tensor([[s.temperature if s.temperature > 0 else 1.0] for s in samplings])

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) → noisy log-probabilities (B, V)."""
        logits = scores.float()
        logits[:, self.forbidden] = float("-inf")
        logprobs = torch.log_softmax(logits / self._temperatures.to(scores.device), dim=-1)
        index = input_ids.shape[1] - self.prompt_length
        noise = torch.zeros_like(logprobs, device="cpu")
        for row, sampling in enumerate(self.samplings):
            if sampling.temperature > 0:
                noise[row] = torch.from_numpy(gumbel_noise(sampling.key, index, scores.shape[1]))
        noisy = logprobs + noise.to(scores.device)
        self.logprobs.append(logprobs.gather(1, noisy.argmax(dim=-1, keepdim=True)).squeeze(1))
        return noisy


class RowStopping(StoppingCriteria):
    """Ends a row at its own token limit or once its text holds one of its stop strings."""

    def __init__(self, samplings: Sequence[Sampling], tokenizer: Any, *, prompt_length: int) -> None:
        self.samplings = samplings
        self.tokenizer = tokenizer
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        """Whether each row is done, (B,) bool."""
        count = input_ids.shape[1] - self.prompt_length
        done = [count >= s.max_tokens or self._stopped(input_ids[i], s) for i, s in enumerate(self.samplings)]
        return torch.tensor(done, device=input_ids.device)

    def _stopped(self, row: Tensor, sampling: Sampling) -> bool:
        if not sampling.stop:
            return False
        # A token adds at least one character, so the tail that can newly hold a stop string is this short.
        tail = max(len(stop) for stop in sampling.stop) + 4
        text = self.tokenizer.decode(row[self.prompt_length :][-tail:].tolist(), clean_up_tokenization_spaces=False)
        return any(stop in text for stop in sampling.stop)


def load_checkpoint(checkpoint: Path | str, *, dtype: str = "float32", device: str = "cpu") -> tuple[Any, Any]:
    """Model (eval mode) and processor of a Hugging Face folder or hub id; safetensors only, no remote code.

    Raises:
        PolicyError: naming the checkpoint and what is wrong with it.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(str(checkpoint), trust_remote_code=False)
        model = AutoModelForImageTextToText.from_pretrained(
            str(checkpoint), trust_remote_code=False, use_safetensors=True, dtype=getattr(torch, dtype)
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        message = " ".join(str(error).split())
        raise PolicyError(
            f"no usable checkpoint at {checkpoint}: it must be a Hugging Face folder with a processor and safetensors "
            f"weights, or a hub id that can be reached ({message[:300]})"
        ) from error
    return model.to(device).eval(), processor
