"""The one processor path: `Prompt` + pictures + Hugging Face processor → token ids and image tensors.

Every engine and the trainer encode here, so ids and pixels agree wherever a context is read. Each distinct picture goes
through the processor once; its placeholder in the text is then replaced by the ids the processor itself gave it, which
is shown once per processor to equal one ordinary processor call. Sampling and forward passes live elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from visor_core.byte_cache import ByteCache
from visor_core.errors import PolicyError
from visor_core.policies.base import ImageLoader, ImageRef, Part, Prompt

# Keys of a processor's output that describe text; every other tensor describes pictures.
_TEXT_KEYS = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})
# Processors whose image tensors have a leading batch dimension over prompts: (1, pieces, …).
_NESTED_IMAGES = ("Idefics2Processor", "Idefics3Processor", "SmolVLMProcessor")
CACHE_BYTES = 2**31
"""Memory for encoded pictures where nothing else is said (`model.picture_cache_mib`)."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImage:
    """One picture: the ids that stand for it in a prompt, and its tensors, pieces (tiles or patches) first."""

    ref: ImageRef
    ids: tuple[int, ...]
    tensors: dict[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Memory its tensors and ids take, bytes."""
        return 8 * len(self.ids) + sum(tensor.untyped_storage().nbytes() for tensor in self.tensors.values())


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A prompt as ids. `compact_ids` keeps one placeholder a picture; `input_ids` has them expanded."""

    input_ids: tuple[int, ...]
    compact_ids: tuple[int, ...]
    images: tuple[EncodedImage, ...]
    image_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class TokenBatch:
    """Left-padded ids (B, T) and their mask (B, T) for one forward pass."""

    input_ids: Tensor
    attention_mask: Tensor


class Encoder:
    """Encodes prompts for one processor; keeps the most recent encoded pictures, `cache_bytes` of them.

    Raises:
        PolicyError: if the processor has no chat template or no image token.
    """

    def __init__(self, processor: Any, loader: ImageLoader, *, cache_bytes: int = CACHE_BYTES) -> None:
        if getattr(processor, "chat_template", None) is None:
            raise PolicyError("the checkpoint's processor has no chat template: save chat_template.jinja beside it")
        if getattr(processor, "image_token", None) is None:
            raise PolicyError("the checkpoint's processor has no image token: it is no vision-language model")
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.image_token: str = processor.image_token
        self.image_token_id = int(self.tokenizer.convert_tokens_to_ids(self.image_token))
        self.loader = loader
        self.nested_images = type(processor).__name__ in _NESTED_IMAGES
        self._cache: ByteCache[ImageRef, EncodedImage] = ByteCache(cache_bytes)
        self.cache_bytes = cache_bytes
        self._control = _control_pattern(self.tokenizer, self.image_token)
        self._checked = False

    @property
    def pad_token_id(self) -> int:
        """The id that fills the left of shorter rows; masked, so any id serves where none is declared."""
        return int(self.tokenizer.pad_token_id or 0)

    def text(self, prompt: Prompt) -> str:
        """The chat template's text, up to and including the forced prefix; one image token a picture.

        Control tokens that stand in message text are broken up with a space, so that neither a page nor a question
        can open a turn or forge a picture. Protocol tags must therefore not be special tokens of the tokenizer.
        Templates put parts together as they are, so every text part but a message's last ends with a line break (which
        a template that trims and separates them takes off again).
        """
        messages = [
            {"role": message.role, "content": [self._part(part) for part in separated(message.content)]}
            for message in prompt.messages
        ]
        text = self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return str(text) + self._harmless(prompt.forced_prefix)

    def compact_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """The prompt's ids with one placeholder a picture.

        Raises:
            PolicyError: if the template lost a picture.
        """
        text = self.text(prompt)
        ids = tuple(self.tokenizer(text, add_special_tokens=self._adds_special_tokens(text))["input_ids"])
        found, wanted = ids.count(self.image_token_id), len(prompt.images)
        if found != wanted:
            raise PolicyError(f"the chat template shows {found} of {wanted} pictures: it must handle image parts")
        return ids

    def image(self, ref: ImageRef) -> EncodedImage:
        """One picture through the processor, or from the cache.

        Raises:
            PolicyError: if the loader returns another size than was asked for.
        """
        kept = self._cache.get(ref)
        if kept is not None:
            return kept
        picture = self.loader(ref)
        if picture.size != (ref.width, ref.height):
            raise PolicyError(
                f"the picture of {ref.page_id} is {picture.size[0]}×{picture.size[1]}, not {ref.width}×{ref.height}"
            )
        output = self.processor(
            text=[self.image_token], images=[[picture]], add_special_tokens=False, return_tensors="pt"
        )
        tensors = {key: _folded(value) for key, value in self._image_tensors(output).items()}
        encoded = EncodedImage(ref, tuple(output["input_ids"][0].tolist()), tensors)
        self._cache.keep(ref, encoded, encoded.nbytes)
        return encoded

    def encode(self, prompt: Prompt) -> Encoded:
        """Ids and image tensors of a prompt."""
        compact = self.compact_ids(prompt)
        images = tuple(self.image(ref) for ref in prompt.images)
        ids = self.expand(compact, images)
        if images and not self._checked:
            self._check(prompt, ids, images)
        return Encoded(ids, compact, images, ids.count(self.image_token_id))

    def expand(self, compact: Sequence[int], images: Sequence[EncodedImage]) -> tuple[int, ...]:
        """Replace the n-th placeholder by the ids of the n-th picture."""
        pending = iter(images)
        ids: list[int] = []
        for token in compact:
            ids.extend(next(pending).ids if token == self.image_token_id else (token,))
        return tuple(ids)

    def stack(self, images: Sequence[EncodedImage]) -> dict[str, Tensor]:
        """Image tensors of many pictures in the model's own layout, flat in the order given.

        Raises:
            PolicyError: if the pictures' pieces differ in size.
        """
        if not images:
            return {}
        stacked: dict[str, Tensor] = {}
        for key in images[0].tensors:
            pieces = [image.tensors[key] for image in images]
            if any(piece.shape[1:] != pieces[0].shape[1:] for piece in pieces):
                raise PolicyError(f"pictures of one batch differ in the shape of {key}: fix the processor's image size")
            stacked[key] = torch.cat(pieces).unsqueeze(0) if self.nested_images else torch.cat(pieces)
        return stacked

    def _part(self, part: Part) -> dict[str, str]:
        return {"type": "image"} if isinstance(part, ImageRef) else {"type": "text", "text": self._harmless(part)}

    def _harmless(self, text: str) -> str:
        return self._control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    def _adds_special_tokens(self, text: str) -> bool:
        """Whether the tokenizer puts its own start token: not if the template wrote it (transformers' own rule)."""
        return self.tokenizer.bos_token is None or not text.startswith(self.tokenizer.bos_token)

    def _image_tensors(self, output: Any) -> dict[str, Tensor]:
        tensors = {key: value for key, value in output.items() if key not in _TEXT_KEYS}
        return {key: value[0] for key, value in tensors.items()} if self.nested_images else tensors

    def _check(self, prompt: Prompt, ids: tuple[int, ...], images: tuple[EncodedImage, ...]) -> None:
        """Compare with one ordinary processor call; done for the first prompt with pictures."""
        text = self.text(prompt)
        output = self.processor(
            text=[text],
            images=[[self.loader(ref) for ref in prompt.images]],
            add_special_tokens=self._adds_special_tokens(text),
            return_tensors="pt",
        )
        whole, parts = self._image_tensors(output), self.stack(images)
        parts = {key: value[0] for key, value in parts.items()} if self.nested_images else parts
        if tuple(output["input_ids"][0].tolist()) != ids or any(
            not torch.equal(whole[key], parts[key]) for key in whole
        ):
            raise PolicyError(
                f"{type(self.processor).__name__} encodes pictures differently together and one by one: "
                "this model family is not supported"
            )
        self._checked = True


def encode(processor: Any, prompt: Prompt, images: ImageLoader) -> Encoded:
    """Encode one prompt; keep an `Encoder` where many are encoded."""
    return Encoder(processor, images, cache_bytes=0).encode(prompt)


def _folded(tensor: Tensor) -> Tensor:
    """The same tensor in as little memory as it needs: a mask that is the same everywhere is one value, repeated.

    As integers the mask of a picture without padding takes two thirds of what the picture takes.
    """
    if tensor.is_floating_point() or tensor.numel() == 0 or not bool((tensor == tensor.flatten()[0]).all()):
        return tensor
    return tensor.flatten()[:1].clone().expand(tensor.shape)


def separated(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts of a message, every text but the last ended with a line break."""
    last = len(parts) - 1
    return tuple(
        f"{part}\n" if isinstance(part, str) and place < last and not part.endswith("\n") else part
        for place, part in enumerate(parts)
    )


def pad_left(rows: Sequence[Sequence[int]], pad_token_id: int) -> TokenBatch:
    """Rows of ids, left-padded to the longest: (B, T) ids and mask."""
    length = max(len(row) for row in rows)
    ids = torch.full((len(rows), length), pad_token_id, dtype=torch.long)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, length - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[index, length - len(row) :] = 1
    return TokenBatch(ids, mask)


def distinct_images(encoded: Iterable[Encoded]) -> tuple[list[EncodedImage], list[int]]:
    """All pictures of a batch without repeats, and for every occurrence in order the index of its picture."""
    positions: dict[ImageRef, int] = {}
    images: list[EncodedImage] = []
    order: list[int] = []
    for row in encoded:
        for image in row.images:
            if image.ref not in positions:
                positions[image.ref] = len(images)
                images.append(image)
            order.append(positions[image.ref])
    return images, order


def _control_pattern(tokenizer: Any, image_token: str) -> re.Pattern[str]:
    """Matches every special token of the tokenizer, longest first."""
    special = {str(token) for token in tokenizer.all_special_tokens} | {image_token}
    special |= {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    ordered = sorted((token for token in special if len(token) > 1), key=lambda token: (-len(token), token))
    return re.compile("|".join(re.escape(token) for token in ordered))
