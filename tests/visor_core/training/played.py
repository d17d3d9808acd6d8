"""Real episodes whose replies are written beforehand, with the token ids an engine would have sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.visor_core.agent.small_index import SmallIndex, pages_of
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig, CropConfig, ImageConfig
from visor_core.policies.base import Completion, Prompt, Sampling
from visor_core.policies.encoding import Encoder
from visor_core.questions import Question

INDEX = SmallIndex(pages_of("acme staff q3 47", "acme sales q1 12", "borel staff q3 31"))
ASKED = Question("q", "what is acme staff q3 ?", ("47",), answer_format="Exact", gold_pages=("report/00001",))


class Written:
    """A batch policy that writes its replies in order, a forced prefix left to the prompt; one episode at a time."""

    name = "written"
    checkpoint = ""

    def __init__(self, encoder: Encoder, replies: Sequence[str]) -> None:
        self.encoder = encoder
        self.replies = iter(replies)

    def identity(self) -> dict[str, Any]:
        """Its name: the replies are the test's."""
        return {"engine": self.name}

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        """The next reply for each prompt, its end token included."""
        return [self._write(prompt) for prompt in prompts]

    def _write(self, prompt: Prompt) -> Completion:
        reply = next(self.replies)
        tokenizer = self.encoder.tokenizer
        ids = (*tokenizer(reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)
        prompt_ids = self.encoder.encode(prompt).input_ids
        return Completion(prompt.forced_prefix + reply, ids, (-1.0,) * len(ids), prompt_ids)


def play(processor: Any, replies: Sequence[str], **settings: Any) -> Trajectory:
    """One episode of the question on the index."""
    config = AgentConfig(
        prompts="compact",
        coordinates="grid10",
        image=ImageConfig(min_pixels=1024, max_pixels=1024, multiple=32),
        crop=CropConfig(pad_pixels=0, min_side=0.3, square=True),
        **settings,
    )
    policy: Any = Written(Encoder(processor, INDEX), replies)
    (trajectory,) = run_reference(Environment(INDEX, config), policy, [ASKED])
    return trajectory
