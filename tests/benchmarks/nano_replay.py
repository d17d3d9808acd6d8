"""Recorded nano episodes and a policy that replays their turn counts and lengths on a real engine.

A small synthetic corpus is played through the real environment, by the scripted teacher or by a checkpoint that samples
at temperature 1 as it does in GRPO; every context and every reply are kept by sampling key. A replay makes the engine
sample as many tokens as the recorded reply has, then hands the recorded text to the environment, so the same episodes
unfold whatever the engine's weights are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.nano_setting import AGENT, INDEX, nano_index, player
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.config import NanoConfig, TeacherConfig
from visor_core.index import PageIndex
from visor_core.nano.model import build_model, build_processor, save_checkpoint
from visor_core.nano.questions import make_questions
from visor_core.nano.world import write_world
from visor_core.policies.base import BatchPolicy, Completion, FinishReason, Prompt, Sampling
from visor_core.questions import Question

# More mistakes than the default teacher makes: episodes of very different lengths.
CLUMSY = TeacherConfig(wrong_page=0.3, loose_crop=0.3, wrong_label=0.3)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and its reply; `tokens` are those of the reply, its end included."""

    prompt: Prompt
    reply: str
    tokens: int
    end: FinishReason


@dataclass
class Recording:
    """What was asked and written, by sampling key; `environment` remembers its searches, `unused_environment` none."""

    environment: Environment
    questions: list[Question]
    exchanges: dict[tuple[int, ...], Exchange] = field(default_factory=dict)

    def unused_environment(self) -> Environment:
        """The same environment with nothing searched yet, as questions find it that were never asked before."""
        index = self.environment.index
        assert isinstance(index, PageIndex)
        return Environment(PageIndex.open(index.corpus.root, index.tag), AGENT, INDEX)


def record(folder: Path, episodes: int, checkpoint: Path | None = None) -> Recording:
    """Let the teacher, or a checkpoint at temperature 1, play `episodes` questions on a small corpus in `folder`."""
    # Search by text finds no page with a damaged title, which would let half the episodes run to their limit.
    nano = NanoConfig(train_corpora=2, companies=6, topics=6, damaged_titles=0.0)
    world = write_world(folder / "pdf", "train", nano, seed=11)
    environment = Environment(nano_index(folder / "corpus", folder / "pdf"), AGENT, INDEX)
    recording = Recording(environment, make_questions(world, episodes, seed=11))
    policy = player(checkpoint, environment.index, world, CLUMSY, seed=11)
    run_reference(environment, _Recorder(policy, recording), recording.questions, temperature=1.0)
    return recording


class _Recorder:
    """Keeps what a policy is asked and writes."""

    def __init__(self, policy: BatchPolicy, recording: Recording) -> None:
        self.name, self.checkpoint = policy.name, policy.checkpoint
        self._policy, self._recording = policy, recording
        self._tokenizer = build_processor().tokenizer

    def identity(self) -> dict[str, Any]:
        return self._policy.identity()

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        return self.complete_batch([prompt], [sampling])[0]

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        completions = self._policy.complete_batch(prompts, samplings)
        for prompt, sampling, completion in zip(prompts, samplings, completions, strict=True):
            # One more for the end token that a model would have written.
            spoken = len(self._tokenizer(completion.text, add_special_tokens=False)["input_ids"]) + 1
            tokens = len(completion.token_ids) or spoken
            self._recording.exchanges[sampling.key] = Exchange(
                prompt, completion.text, tokens, completion.finish_reason
            )
        return completions


class Replay:
    """An engine's work with the recorded replies."""

    def __init__(self, engine: Any, recording: Recording) -> None:
        self.name, self.checkpoint = "replay", engine.checkpoint
        self._engine, self._recording = engine, recording
        self.differing = 0

    def identity(self) -> dict[str, Any]:
        return {"engine": "replay", "of": self._engine.identity()}

    def sampling(self, key: tuple[int, ...]) -> Sampling:
        """As many tokens as the recorded reply has."""
        return Sampling(1.0, self._recording.exchanges[key].tokens, key=key)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        return self._replayed(prompt, sampling, await self._engine.complete(prompt, self.sampling(sampling.key)))

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        written = self._engine.complete_batch(prompts, [self.sampling(s.key) for s in samplings])
        return [self._replayed(p, s, c) for p, s, c in zip(prompts, samplings, written, strict=True)]

    def _replayed(self, prompt: Prompt, sampling: Sampling, written: Completion) -> Completion:
        recorded = self._recording.exchanges[sampling.key]
        self.differing += prompt != recorded.prompt
        # Every replayed reply ends at its length; what follows a reply that was cut off is another context.
        return replace(written, text=recorded.reply, finish_reason=recorded.end)


def trained_checkpoints(home: Path, *stages: str) -> list[Path]:
    """The nano checkpoints of these stages in a VISOR_HOME."""
    return [w.parent for stage in stages for w in (home / "assets" / stage).glob("*/final/model.safetensors")]


def nano_checkpoint(home: Path, folder: Path) -> tuple[Path, str]:
    """The newest trained nano checkpoint of this VISOR_HOME, or an untrained one of the same size made in `folder`."""
    if trained := trained_checkpoints(home, "grpo_checkpoint", "sft_checkpoint"):
        newest = max(trained, key=lambda path: (path / "model.safetensors").stat().st_mtime)
        return newest, newest.parent.parent.name
    processor = build_processor()
    save_checkpoint(build_model(processor.tokenizer, seed=0), processor, folder)
    return folder, "untrained"
