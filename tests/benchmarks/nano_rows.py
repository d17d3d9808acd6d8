"""Turn rows of real nano episodes for the training benchmarks: real PDFs, real index, real pictures, the nano model.

Groups of rollouts are sampled at temperature 1 from the warm start of this VISOR_HOME, as GRPO does; where there is
none, the scripted teacher plays them with its mistakes, so that no model has to be trained first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.nano_setting import AGENT, INDEX, nano_index, player
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import NanoConfig, TeacherConfig
from visor_core.index import PageIndex
from visor_core.nano.model import build_model, build_processor, save_checkpoint
from visor_core.nano.questions import make_questions
from visor_core.nano.world import World, write_world
from visor_core.policies.encoding import Encoder
from visor_core.questions import Question
from visor_core.training.batching import WeightedRow
from visor_core.training.rows import encode_turn, rows_of

MISTAKES = TeacherConfig(wrong_page=0.3, loose_crop=0.3, wrong_label=0.2)


@dataclass(frozen=True)
class NanoSetting:
    """A small nano world with its index. A warm start plays and is the model to update; without one the scripted
    teacher plays, and an untrained model is updated."""

    world: World
    index: PageIndex
    questions: list[Question]
    untrained: Path
    warm_start: Path | None = None

    @property
    def checkpoint(self) -> Path:
        """The model to update."""
        return self.warm_start or self.untrained

    @property
    def played_by(self) -> str:
        """Who plays, in words."""
        return "warm start" if self.warm_start else "teacher"

    @property
    def environment(self) -> Environment:
        """The episode's environment."""
        return Environment(self.index, AGENT, INDEX)

    def rollouts(self, count: int = 8, rollouts: int = 8) -> list[Trajectory]:
        """Episodes, `rollouts` a question."""
        policy = player(self.warm_start, self.index, self.world, MISTAKES, seed=1)
        return run_reference(self.environment, policy, self.questions[:count], rollouts=rollouts, temperature=1.0)


def build(folder: Path, *, questions: int = 16, warm_start: Path | None = None) -> NanoSetting:
    """Write, register and index one corpus of 8 companies with 6 pages each, and save the model.

    Search goes by text, so titles are all sound where a warm start plays.
    """
    if not (folder / "model").is_dir():
        save_checkpoint(build_model(build_processor().tokenizer, 0), build_processor(), folder / "model")
    nano = NanoConfig(train_corpora=1, damaged_titles=0.0 if warm_start else 0.3)
    world = write_world(folder / f"pdf-{nano.damaged_titles}", "train", nano, seed=2)
    asked = make_questions(world, questions, seed=5)
    index = nano_index(folder / f"corpus-{nano.damaged_titles}", world.folder)
    return NanoSetting(world, index, asked, folder / "model", warm_start)


def rows_for(encoder: Encoder, trajectories: list[Trajectory]) -> list[WeightedRow]:
    """Weighted rows of episodes: alternating advantages, every rollout weighing the same."""
    weighted = []
    for number, trajectory in enumerate(trajectories):
        rows = rows_of(trajectory, number) or [
            encode_turn(turn, encoder, rollout=number, group=trajectory.group_id) for turn in trajectory.turns
        ]
        tokens = sum(len(row.completion_ids) for row in rows)
        for row in rows:
            n = len(row.completion_ids)
            weighted.append(WeightedRow(row, ((-1.0) ** number,) * n, (30.0 / tokens,) * n))
    return weighted
