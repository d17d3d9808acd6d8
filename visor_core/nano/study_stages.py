"""The training stages of one seed of the study: what the asset graph does, in one process and one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from visor_core.agent.environment import Environment
from visor_core.agent.trajectory import Trajectory
from visor_core.config import Profile
from visor_core.errors import ConfigError
from visor_core.evaluation.runner import evaluate
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages
from visor_core.nano.pretraining import train_base_model
from visor_core.nano.retriever import titled_pages, train_retriever
from visor_core.nano.teacher import ScriptedTeacher
from visor_core.nano.world import World
from visor_core.policies.transformers import TransformersPolicy
from visor_core.questions import Question
from visor_core.trajectories.filters import balance, keep_good

RETRIEVER = "late:retriever"
"""How a profile names the retriever trained in the same run."""


class Stages:
    """Trains one seed's checkpoints under `folder`; each stage continues or is skipped when it is done."""

    def __init__(
        self, profile: Profile, folder: Path, seed: int, train: World, progress: Callable[[str], None]
    ) -> None:
        if profile.nano is None:
            raise ConfigError(f"the profile {profile.name!r} has no section `nano`: the study needs the nano profile")
        self.profile, self.folder, self.seed = profile, folder, seed
        self._nano, self._train, self._progress = profile.nano, train, progress
        named = tuple(f"late:{folder / 'retriever'}" if e == RETRIEVER else e for e in profile.index.embedders)
        self.index_config = profile.index.model_copy(update={"embedders": named})

    def train(self, questions: Sequence[Question]) -> dict[str, Path]:
        """Checkpoints by stage: `base`, `sft`, `grpo`."""
        from visor_core.training.grpo import train_grpo
        from visor_core.training.sft import train_sft

        base, retriever = self.folder / "base", self.folder / "retriever"
        if not (base / "model.safetensors").is_file():
            self._progress(f"seed {self.seed}: base model")
            train_base_model(self._train, base, self._nano, self.seed)
        if not (retriever / "model.safetensors").is_file():
            self._progress(f"seed {self.seed}: retriever")
            pages = titled_pages(self._train)
            train_retriever(base, pages, retriever, steps=self._nano.retriever_steps, seed=self.seed)
        index = self.index(self._train)
        environment = Environment(index, self.profile.agent, self.index_config)
        self._progress(f"seed {self.seed}: teacher and SFT")
        teacher = ScriptedTeacher(self._train, self.profile.teacher, self.profile.agent, seed=self.seed)
        sft = train_sft(
            base, self._warm_start(teacher, environment, questions), index, self.profile.sft, self.folder / "sft",
            self.seed,
        )  # fmt: skip
        self._progress(f"seed {self.seed}: GRPO")
        grpo = train_grpo(
            sft.checkpoint, questions, environment, index, self.profile.grpo, self.folder / "grpo", self.seed
        )
        return {"base": base, "sft": sft.checkpoint, "grpo": grpo.checkpoint}

    def _warm_start(
        self, teacher: ScriptedTeacher, environment: Environment, questions: Sequence[Question]
    ) -> list[Trajectory]:
        """The teacher's good episodes, balanced over their number of turns."""
        wanted = self.profile.teacher
        episodes: list[Trajectory] = []
        evaluate(
            teacher,
            environment,
            questions,
            self.profile.evaluation.model_copy(update={"temperature": 0.0, "questions": None}),
            seed=self.seed,
            store=self.folder / "episodes",
            on_episodes=episodes.extend,
        )
        good = keep_good(episodes, min_steps=wanted.min_steps, max_steps=wanted.max_steps)
        return list(balance(good.kept, wanted.trajectories, self.seed))

    def index(self, world: World) -> PageIndex:
        """The index of one split, built once."""
        corpus = Corpus(self.folder / "corpora" / world.split)
        register_documents(corpus, [world.folder], self.profile.documents, partition_of=lambda path: path.parent.name)
        render_pages(corpus, self.profile.documents)
        report = build_index(corpus, self.index_config, load_embedders(self.index_config))
        return PageIndex.open(self.folder / "corpora" / world.split, report.index_tag)

    def policy(self, checkpoint: Path, index: PageIndex) -> TransformersPolicy:
        """A checkpoint as a policy."""
        return TransformersPolicy(checkpoint, index, name=checkpoint.parent.name, max_batch=128)
