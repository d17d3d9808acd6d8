"""Who writes the next turn: the types that every engine shares. Knows nothing of the agent.

A `Prompt` is messages with image *references*; a policy resolves a reference through the `ImageLoader` it was built
with, so that stored prompts never hold pixels. A `Completion` keeps the sampled ids and their log-probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from visor_core.geometry import FULL_PAGE, Box

if TYPE_CHECKING:
    from PIL import Image

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A picture the policy is shown: the part `box` of a page, at `width` × `height` pixels."""

    page_id: str
    width: int
    height: int
    box: Box = FULL_PAGE


class ImageLoader(Protocol):
    """Resolves a reference to an RGB picture of exactly (`width`, `height`) pixels; the same bytes every time."""

    def __call__(self, ref: ImageRef) -> Image.Image: ...


Part = str | ImageRef


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message; `content` interleaves text and image references in reading order."""

    role: Role
    content: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rebuilt context C_t. `forced_prefix` starts the assistant's reply and is not sampled (a forced answer)."""

    messages: tuple[Message, ...]
    forced_prefix: str = ""

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """All image references, in order."""
        return tuple(p for m in self.messages for p in m.content if isinstance(p, ImageRef))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample one completion.

    `key` names the noise: (seed, step, group, rollout, turn). Engines in reference mode derive each token's noise from
    it, so the same key and prompt give the same tokens. Temperature 0 is greedy. A reply ends at the first of the
    strings `stop` (which stays in it) that stands outside the thought, whose tags are `thought`; an end token right
    after it belongs to the reply.
    """

    temperature: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    key: tuple[int, ...] = (0,)
    thought: tuple[str, str] = ("<think>", "</think>")


FinishReason = str
"""Why a reply ended: `stop`, `length`, or a server's own word as it gave it (`content_filter`, `tool_calls`); empty if
it gave none."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled reply.

    `token_ids` and `logprobs` (natural log, under the sampling distribution at its temperature, forbidden tokens
    excluded) have equal length and cover sampled tokens only, the end token included; both are empty for endpoints
    that do not give them. `prompt_ids` is the prompt as tokenised, image placeholders expanded, the forced prefix
    included. `text` holds the prompt's forced prefix, if any: in front (after a thought), unless the reply has it
    elsewhere. It leaves out special end tokens. `prompt_tokens` is 0, `image_tokens` and `completion_tokens` (the count
    of a server, for replies without ids) are None where nobody counted. `sampled` is false for what the environment
    wrote in a policy's place.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    prompt_tokens: int = 0
    image_tokens: int | None = None
    cached_tokens: int = 0
    finish_reason: FinishReason = "stop"
    seconds: float = 0.0
    cost: float = 0.0
    metadata: dict[str, str] = field(default_factory=dict)
    completion_tokens: int | None = None
    sampled: bool = True

    @property
    def tokens_out(self) -> int | None:
        """Tokens written: those sampled, else what the server counted; None where neither is known."""
        return len(self.token_ids) if self.token_ids else self.completion_tokens


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What an engine with a fixed memory is started for.

    `max_model_len` is the tokens of the longest prompt and its reply, cut to what the model itself can do unless
    `exact_length`; `max_images` the pictures of one prompt; `max_num_seqs` the requests at once; `gpu_memory` the share
    of a GPU's memory; `cuda_graphs` whether decoding is captured on a GPU.
    """

    max_model_len: int
    max_images: int
    max_num_seqs: int
    gpu_memory: float
    cuda_graphs: bool = True
    exact_length: bool = False


class Closing:
    """Makes a policy a context manager that closes it; one that holds nothing has nothing to give back."""

    def close(self) -> None:
        """Give back memory and processes; a later call of the policy fails."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@runtime_checkable
class Policy(Protocol):
    """Writes the next turn. `name` and `checkpoint` are recorded with every trajectory.

    A policy is opened by making it and is a context manager that closes it: an engine holds a GPU's memory until then.
    """

    name: str
    checkpoint: str

    def identity(self) -> dict[str, Any]:
        """All that decides the replies, as JSON values: what is kept of a policy is kept under this.

        What is only worth knowing stands under `recorded` (`policies.identity`). May read the weights or ask the
        server: ask for it before an event loop runs, not inside one.

        Raises:
            PolicyError: if the weights cannot be read or the server does not answer.
        """
        ...

    def close(self) -> None:
        """Give back memory and processes; a later call of the policy fails."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """One completion; throughput mode calls many at once.

        Raises:
            PolicyError: if the engine fails for good (after its own retries).
        """
        ...


@runtime_checkable
class ConnectedPolicy(Protocol):
    """A policy that holds connections of an event loop: whoever ends the loop has it let go of them first."""

    async def disconnect(self) -> None:
        """Close the connections of the running event loop; a later call opens new ones."""
        ...


@runtime_checkable
class BatchPolicy(Policy, Protocol):
    """A policy that can also run a fixed batch: what reference mode needs."""

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        """Completions in the order of the prompts; batch membership is the caller's and is kept."""
        ...


@runtime_checkable
class ReproduciblePolicy(BatchPolicy, Protocol):
    """A batch policy that writes the same tokens again for the same batch and keys, and so is evaluated in batches.

    Engines that promise no such identity (vLLM, endpoints) leave `reproducible` out, though they can run a batch.
    """

    @property
    def reproducible(self) -> Literal[True]:
        """Always true: a policy that is not reproducible has no such attribute."""
        ...
