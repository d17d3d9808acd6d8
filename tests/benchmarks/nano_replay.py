"""Recorded nano episodes and a policy that replays their turn counts and lengths on a real engine.

The scripted teacher plays a small synthetic corpus through the real environment; every context it saw and every reply
it wrote are kept by sampling key. A replay makes the engine sample as many tokens as the recorded reply has, then
hands the recorded text to the environment, so the same episodes unfold whatever the engine's weights are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.nano_setting import AGENT, INDEX, nano_index
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.config import NanoConfig, TeacherConfig
from visor_core.index import PageIndex
from visor_core.nano.model import build_model, build_processor, save_checkpoint
from visor_core.nano.questions import make_questions
from visor_core.nano.teacher import ScriptedTeacher
from visor_core.nano.world import write_world
from visor_core.policies.base import Completion, Prompt, Sampling
from visor_core.questions import Question

# More mistakes than the default teacher makes: episodes of very different lengths.
CLUMSY = TeacherConfig(wrong_page=0.3, loose_crop=0.3, wrong_label=0.3)


@dataclass
class Recording:
    """What was asked and written, by sampling key; `environment` remembers its searches, `unused_environment` none."""

    environment: Environment
    questions: list[Question]
    prompts: dict[tuple[int, ...], Prompt] = field(default_factory=dict)
    texts: dict[tuple[int, ...], str] = field(default_factory=dict)
    lengths: dict[tuple[int, ...], int] = field(default_factory=dict)

    def unused_environment(self) -> Environment:
        """The same environment with nothing searched yet, as questions find it that were never asked before."""
        index = self.environment.index
        assert isinstance(index, PageIndex)
        return Environment(PageIndex.open(index.corpus.root, index.tag), AGENT, INDEX)


def record(folder: Path, episodes: int) -> Recording:
    """Let the teacher play `episodes` questions on a small corpus made in `folder`."""
    # Search by text finds no page with a damaged title, which would let half the episodes run to their limit.
    nano = NanoConfig(train_corpora=2, companies=6, topics=6, damaged_titles=0.0)
    world = write_world(folder / "pdf", "train", nano, seed=11)
    environment = Environment(nano_index(folder / "corpus", folder / "pdf"), AGENT, INDEX)
    recording = Recording(environment, make_questions(world, episodes, seed=11))
    run_reference(
        environment, _Recorder(ScriptedTeacher(world, CLUMSY, AGENT, seed=11), recording), recording.questions
    )
    tokenizer = build_processor().tokenizer
    for key, text in recording.texts.items():
        # One more for the end token that a model would have written.
        recording.lengths[key] = len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1
    return recording


class _Recorder:
    """Keeps what a policy is asked and writes."""

    def __init__(self, policy: ScriptedTeacher, recording: Recording) -> None:
        self.name, self.checkpoint = policy.name, policy.checkpoint
        self._policy, self._recording = policy, recording

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        return self.complete_batch([prompt], [sampling])[0]

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        completions = self._policy.complete_batch(prompts, samplings)
        for prompt, sampling, completion in zip(prompts, samplings, completions, strict=True):
            self._recording.prompts[sampling.key] = prompt
            self._recording.texts[sampling.key] = completion.text
        return completions


class Replay:
    """An engine's work with the recorded replies."""

    def __init__(self, engine: Any, recording: Recording) -> None:
        self.name, self.checkpoint = "replay", engine.checkpoint
        self._engine, self._recording = engine, recording
        self.differing = 0

    def sampling(self, key: tuple[int, ...]) -> Sampling:
        """As many tokens as the recorded reply has."""
        return Sampling(1.0, self._recording.lengths[key], key=key)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        return self._replayed(prompt, sampling, await self._engine.complete(prompt, self.sampling(sampling.key)))

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        written = self._engine.complete_batch(prompts, [self.sampling(s.key) for s in samplings])
        return [self._replayed(p, s, c) for p, s, c in zip(prompts, samplings, written, strict=True)]

    def _replayed(self, prompt: Prompt, sampling: Sampling, written: Completion) -> Completion:
        self.differing += prompt != self._recording.prompts[sampling.key]
        return replace(written, text=self._recording.texts[sampling.key])


def nano_checkpoint(home: Path, folder: Path) -> tuple[Path, str]:
    """The newest trained nano checkpoint of this VISOR_HOME, or an untrained one of the same size made in `folder`."""
    trained = [
        weights.parent
        for stage in ("grpo_checkpoint", "sft_checkpoint")
        for weights in (home / "assets" / stage).glob("*/final/model.safetensors")
    ]
    if trained:
        newest = max(trained, key=lambda path: (path / "model.safetensors").stat().st_mtime)
        return newest, newest.parent.parent.name
    processor = build_processor()
    save_checkpoint(build_model(processor.tokenizer, seed=0), processor, folder)
    return folder, "untrained"
