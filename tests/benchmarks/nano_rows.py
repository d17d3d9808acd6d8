"""Turn rows of real nano episodes for the training benchmarks: real PDFs, real index, real pictures, the nano model.

The scripted teacher plays the episodes (with its mistakes), so that no model has to be trained first; lengths, pictures
and their repetition are those of rollouts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.nano_setting import AGENT, INDEX, nano_index
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import NanoConfig, TeacherConfig
from visor_core.index import PageIndex
from visor_core.nano.model import build_model, build_processor, save_checkpoint
from visor_core.nano.questions import make_questions
from visor_core.nano.teacher import ScriptedTeacher
from visor_core.nano.world import World, write_world
from visor_core.policies.encoding import Encoder
from visor_core.questions import Question
from visor_core.training.batching import WeightedRow
from visor_core.training.rows import encode_turn

MISTAKES = TeacherConfig(wrong_page=0.3, loose_crop=0.3, wrong_label=0.2)


@dataclass(frozen=True)
class NanoSetting:
    """A small nano world with its index and the untrained nano model."""

    world: World
    index: PageIndex
    checkpoint: Path
    questions: list[Question]

    @property
    def environment(self) -> Environment:
        """The episode's environment."""
        return Environment(self.index, AGENT, INDEX)

    def rollouts(self, count: int = 8, rollouts: int = 8) -> list[Trajectory]:
        """Teacher episodes, `rollouts` a question."""
        teacher = ScriptedTeacher(self.world, MISTAKES, AGENT, seed=1)
        return run_reference(self.environment, teacher, self.questions[:count], rollouts=rollouts, temperature=1.0)


def build(folder: Path, *, questions: int = 16) -> NanoSetting:
    """Write, register and index one corpus of 8 companies with 6 pages each, and save the model."""
    if not (folder / "model").is_dir():
        save_checkpoint(build_model(build_processor().tokenizer, 0), build_processor(), folder / "model")
    world = write_world(folder / "pdf", "train", NanoConfig(train_corpora=1), seed=2)
    asked = make_questions(world, questions, seed=5)
    return NanoSetting(world, nano_index(folder / "corpus", folder / "pdf"), folder / "model", asked)


def rows_for(encoder: Encoder, trajectories: list[Trajectory]) -> list[WeightedRow]:
    """Weighted rows of episodes: alternating advantages, every rollout weighing the same."""
    weighted = []
    for number, trajectory in enumerate(trajectories):
        rows = [encode_turn(t, encoder, rollout=number, group=trajectory.group_id) for t in trajectory.turns]
        tokens = sum(len(row.completion_ids) for row in rows)
        for row in rows:
            n = len(row.completion_ids)
            weighted.append(WeightedRow(row, ((-1.0) ** number,) * n, (30.0 / tokens,) * n))
    return weighted
