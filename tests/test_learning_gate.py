"""The learning gate: the embedded default in small, from nothing, in about three minutes on two cores.

A base model learns to read, SFT on a faultless scripted teacher beats the untrained policy on documents that no stage
saw (single-hop questions, text search), and one GRPO step makes well rewarded rollouts likelier and others less likely.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from tests.nano_setting import nano_index
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import NanoConfig, Profile, load_profile
from visor_core.index import PageIndex
from visor_core.nano.pretraining import train_base_model
from visor_core.nano.questions import make_questions
from visor_core.nano.teacher import ScriptedTeacher
from visor_core.nano.world import write_world
from visor_core.policies.encoding import Encoder
from visor_core.policies.transformers import TransformersPolicy
from visor_core.scoring.facts import supported
from visor_core.training.batching import collate, per_token
from visor_core.training.forward import add_row_head, prepare
from visor_core.training.grpo import train_grpo
from visor_core.training.loop import forbidden_ids, load_for_training
from visor_core.training.rows import TurnRow, rows_of
from visor_core.training.sft import train_sft
from visor_core.trajectories.filters import keep_good

PROFILES = Path(__file__).parents[1] / "pipelines" / "profiles"
DEVELOPMENT_QUESTIONS = 64


def small_profile() -> Profile:
    """The nano profile, shrunk: a smaller world, fewer steps, text search."""
    return load_profile(
        PROFILES / "nano.yaml",
        {
            "nano.train_corpora": 8,
            "nano.primer_corpora": 1,
            "nano.development_corpora": 1,
            "nano.damaged_titles": 0.0,
            "nano.vision_steps": 150,
            "nano.alignment_steps": 80,
            "index.embedders": ["hash"],
            "index.mode": "text",
            "teacher.wrong_page": 0.0,
            "teacher.loose_crop": 0.0,
            "teacher.wrong_label": 0.0,
            "sft.steps": 90,
            "sft.batch_size": 48,
            "sft.micro_batch_size": 16,
            "grpo.steps": 1,
            "grpo.questions_per_step": 8,
            "grpo.group_size": 4,
            "grpo.dynamic_sampling": "skip",
            "grpo.optimizer.warmup_ratio": 0.0,
        },
    )


class Chain:
    """The shrunk world with its indexes and questions."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.profile = folder, small_profile()
        nano = self.profile.nano
        assert isinstance(nano, NanoConfig)
        self.nano = nano
        self.worlds = {s: write_world(folder / s, s, nano, 0) for s in ("train", "development")}
        self.primer = write_world(folder / "primer", "primer", nano, 0)
        self.indexes = {
            s: nano_index(folder / f"corpus-{s}", folder / s, self.profile.documents, self.profile.index)
            for s in self.worlds
        }
        self.questions = {
            "train": make_questions(self.worlds["train"], 500, seed=0, two_hop=0.0),
            "development": make_questions(self.worlds["development"], DEVELOPMENT_QUESTIONS, seed=0, two_hop=0.0),
        }

    def environment(self, split: str) -> Environment:
        return Environment(self.indexes[split], self.profile.agent, self.profile.index)

    def success(self, checkpoint: Path) -> float:
        """Share of development questions answered rightly with all evidence, greedy."""
        policy = TransformersPolicy(checkpoint, self.indexes["development"])
        episodes = run_reference(self.environment("development"), policy, self.questions["development"])
        return sum(supported(e) for e in episodes) / len(episodes)

    def lessons(self) -> list[Trajectory]:
        teacher = ScriptedTeacher(self.worlds["train"], self.profile.teacher, self.profile.agent)
        episodes = run_reference(self.environment("train"), teacher, self.questions["train"])
        return list(keep_good(episodes, min_steps=2, max_steps=self.profile.agent.max_turns).kept)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    made = Chain(tmp_path_factory.mktemp("gate"))
    yield made
    for index in made.indexes.values():
        index.close()


def likelihood(checkpoint: Path, rows: Sequence[TurnRow], index: PageIndex, temperature: float) -> list[float]:
    """Log-probability of each row's sampled tokens under a checkpoint."""
    model, processor = load_for_training(checkpoint, dtype="float32", freeze=False)
    add_row_head(model, temperature=temperature, forbidden=forbidden_ids(model, processor))
    encoder = Encoder(processor, index)
    totals: list[float] = []
    with torch.no_grad():
        for start in range(0, len(rows), 64):
            part = rows[start : start + 64]
            batch = collate(part, encoder)
            log_probs, _, _ = model.eval()(row_batch=prepare(model, encoder, batch))
            mask = per_token([row.mask for row in part], batch.completion_width)
            totals += (log_probs * mask).sum(dim=1).tolist()
    return totals


def advantage(group: Sequence[Trajectory], trajectory: Trajectory) -> float:
    """Reward above the group's mean."""
    return float(trajectory.reward or 0.0) - sum(float(t.reward or 0.0) for t in group) / len(group)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sft_beats_the_untrained_policy_and_grpo_follows_the_reward(chain: Chain, tmp_path: Path) -> None:
    profile, folder = chain.profile, chain.folder
    train_base_model(chain.worlds["train"], chain.primer, folder / "base", chain.nano, 0)
    index = chain.indexes["train"]
    train_sft(folder / "base", chain.lessons(), index, profile.sft, folder / "sft", 0)
    untrained, warm = chain.success(folder / "base"), chain.success(folder / "sft" / "final")
    assert untrained <= 0.05
    assert warm >= untrained + 0.2

    rollouts: list[Trajectory] = []
    train_grpo(
        folder / "sft" / "final",
        chain.questions["train"],
        chain.environment("train"),
        index,
        profile.grpo,
        folder / "grpo",
        0,
        on_rollouts=lambda step, made: rollouts.extend(made),
    )
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in rollouts:
        groups.setdefault(trajectory.group_id, []).append(trajectory)
    weighted = [(row, advantage(g, t)) for g in groups.values() for t in g for row in rows_of(t)]
    assert any(weight != 0 for _, weight in weighted)
    rows = [row for row, _ in weighted]
    before = likelihood(folder / "sft" / "final", rows, index, profile.grpo.temperature)
    after = likelihood(folder / "grpo" / "final", rows, index, profile.grpo.temperature)
    assert sum(w * (b - a) for (_, w), a, b in zip(weighted, before, after, strict=True)) > 0
