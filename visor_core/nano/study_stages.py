"""The training stages of one seed of the study: what the asset graph does, in one process and one folder.

A stage's folder is named after everything it is made from, settings and code, so a changed one makes a new folder and
an unchanged one is never trained twice; beside it stands how long it took and at which commit. Code is the syntax trees
of a stage's modules and of what they import of `SHAPING`: explaining it better trains nothing again, changing it does.
Several strategies share one world, base model, retriever and index. Each stage continues where a killed run stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from visor_core.agent.environment import Environment
from visor_core.agent.trajectory import Trajectory
from visor_core.code_version import code_behind, code_version
from visor_core.config import Profile
from visor_core.config.nano import BASE_TRAINING
from visor_core.errors import ConfigError
from visor_core.evaluation.runner import evaluate
from visor_core.files import write_json
from visor_core.index import (
    EVERY_COLUMN,
    Corpus,
    PageIndex,
    build_index,
    load_embedders,
    register_documents,
    render_pages,
)
from visor_core.nano.pretraining import train_base_model
from visor_core.nano.questions import ask_world
from visor_core.nano.retriever import titled_pages, train_retriever
from visor_core.nano.teacher import ScriptedTeacher
from visor_core.nano.tiles import is_tiled, with_tiles
from visor_core.nano.world import World, write_world
from visor_core.policies.transformers import TransformersPolicy
from visor_core.questions import Question, grpo_questions, teacher_questions
from visor_core.tracking import Tracker
from visor_core.trajectories.filters import balance, keep_good

RETRIEVER = "late:retriever"
"""How a profile names the retriever trained in the same run."""
SHAPING = (
    "visor_core.agent", "visor_core.geometry", "visor_core.nano", "visor_core.policies", "visor_core.questions",
    "visor_core.scoring", "visor_core.training", "visor_core.trajectories",
)  # fmt: skip
"""Where a stage imports these, their code counts. Documents and index know their content by themselves."""
EPISODES = ("visor_core.agent.episode", "visor_core.evaluation.runner", "visor_core.policies.transformers")
"""What episodes are played and scored with."""
LESSONS = (*EPISODES, "visor_core.nano.teacher", "visor_core.trajectories.filters")
_RECORD = "stage.json"

Progress = Callable[[str], None]
OnStep = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class StageRecord:
    """How a stage came to be; `interrupted` if a process was killed in it, whose time is then not in `seconds`."""

    seconds: float = 0.0
    commit: str = ""
    interrupted: bool = False
    running: bool = False
    done: bool = False


def stage_record(folder: Path) -> StageRecord:
    """The record of a stage's folder; an empty one before it was begun."""
    path = folder / _RECORD
    return StageRecord(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else StageRecord()


@contextmanager
def stage(folder: Path, commit: str) -> Iterator[None]:
    """Time a stage over all its attempts; a stage that was left without an error is done."""
    before = stage_record(folder)
    interrupted = before.interrupted or before.running
    _write(folder, StageRecord(before.seconds, commit, interrupted, running=True))
    began, done = time.perf_counter(), False
    try:
        yield
        done = True
    finally:
        _write(folder, StageRecord(before.seconds + time.perf_counter() - began, commit, interrupted, done=done))


def _write(folder: Path, record: StageRecord) -> None:
    write_json(folder / _RECORD, asdict(record))


def stage_folder(checkpoint: Path) -> Path:
    """The folder of the stage that made a checkpoint."""
    return checkpoint.parent if checkpoint.name == "final" else checkpoint


def tag_of(*parts: Any) -> str:
    """Eight hex digits over settings and the tags of what a stage is made from."""
    plain = [part.model_dump(mode="json") if hasattr(part, "model_dump") else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


@cache
def code_of(*modules: str) -> str:
    """The version of modules and what they import of `SHAPING`."""
    return code_version(*code_behind(*modules, within=SHAPING))


class Seed:
    """One seed's world, base model, retriever, indexes and policies under `folder`."""

    def __init__(
        self,
        profile: Profile,
        folder: Path,
        seed: int,
        commit: str,
        progress: Progress,
        tracker: Tracker | None = None,
    ) -> None:
        if profile.nano is None:
            raise ConfigError(f"the profile {profile.name!r} has no section `nano`: the study needs the nano profile")
        self.profile, self.nano, self.folder, self.seed = profile, profile.nano, folder, seed
        self.commit, self.progress, self.tracker = commit, progress, tracker
        self._world_tag = tag_of(self.nano.world(), seed, code_of("visor_core.nano.questions"))
        training = [getattr(self.nano, name) for name in BASE_TRAINING]
        self._base_tag = tag_of(self._world_tag, *training, code_of("visor_core.nano.pretraining"))
        code = code_of("visor_core.nano.retriever")
        self._retriever_tag = tag_of(self._base_tag, self.nano.retriever_steps, code)
        self._indexes: dict[str, PageIndex] = {}
        self._train: World | None = None

    @contextmanager
    def training(self, folder: Path, **settings: Any) -> Iterator[OnStep]:
        """Time a stage that trains; what is given for each step goes to its MLflow run, where tracking is on."""
        with stage(folder, self.commit):
            if self.tracker is None:
                yield lambda figures: None
                return
            tracker, name = self.tracker, f"{self.folder.name}/{folder.name}"
            tags = {"stage": folder.name.partition("-")[0], "study": self.folder.name, "commit": self.commit}
            run_id = tracker.open_stage(folder, name, tags=tags, settings={"seed": self.seed, **settings})
            with tracker.ending(run_id):
                yield lambda figures: tracker.training_step(run_id, figures)

    def pdf_folder(self, split: str) -> Path:
        """Where the documents of a split lie."""
        return self.folder / f"pdf-{self._world_tag}" / split

    def world(self, split: str) -> World:
        """The documents of a split, written once.

        Raises:
            ConfigError: for the test split.
        """
        if split == "train" and self._train is not None:
            return self._train
        world = write_world(self.pdf_folder(split), split, self.nano, self.seed)
        if split == "train":
            self._train = world
        return world

    def questions(self, world: World) -> list[Question]:
        """The questions of a split, as many as the profile says."""
        counts = {
            "train": self.nano.train_questions,
            "development": self.nano.development_questions,
            "test": self.nano.test_questions,
        }
        return ask_world(world, counts[world.split], self.nano, self.seed)

    @property
    def base_folder(self) -> Path:
        """Where the base model lies, trained or not."""
        return self.folder / f"base-{self._base_tag}"

    def base(self, *, tiled: bool = False) -> Path:
        """The base model; `tiled` gives the same weights with a processor that cuts large pictures into tiles."""
        folder = self.base_folder
        if not stage_record(folder).done:
            self.progress(f"seed {self.seed}: base model")
            with self.training(folder, nano=self.nano) as on_step:
                train_base_model(self.world("train"), self.world("primer"), folder, self.nano, self.seed, on_step)
        if not tiled:
            return folder
        variant = folder.with_name(f"{folder.name}-tiled-{code_of('visor_core.nano.tiles')}")
        if not stage_record(variant).done:
            with stage(variant, self.commit):
                with_tiles(folder, variant, self.seed)
        return variant

    def retriever(self) -> Path:
        """The page retriever."""
        folder = self.folder / f"retriever-{self._retriever_tag}"
        if not stage_record(folder).done:
            base = self.base()
            self.progress(f"seed {self.seed}: retriever")
            steps = self.nano.retriever_steps
            with self.training(folder, steps=steps) as on_step:
                pages = titled_pages(self.world("train"))
                train_retriever(base, pages, folder, steps=steps, seed=self.seed, on_step=on_step)
        return folder

    def index(self, world: World) -> PageIndex:
        """The index of one split, built once."""
        if world.split not in self._indexes:
            wanted = self.profile.index
            named = tuple(f"late:{self.retriever()}" if e == RETRIEVER else e for e in wanted.embedders)
            config = wanted.model_copy(update={"embedders": named})
            tag = tag_of(self._retriever_tag, wanted, self.profile.documents)
            folder = self.folder / f"corpora-{tag}" / world.split
            corpus = Corpus(folder)
            register_documents(
                corpus, [world.folder], self.profile.documents, partition_of=lambda path: path.parent.name
            )
            render_pages(corpus, self.profile.documents)
            report = build_index(corpus, config, load_embedders(config), drop=(EVERY_COLUMN,))
            self._indexes[world.split] = PageIndex.open(
                folder, report.index_tag, documents=self.profile.documents, device=config.device
            )
        return self._indexes[world.split]

    def environment(self, world: World, profile: Profile) -> Environment:
        """The episodes of a profile's strategy on a split."""
        return Environment(self.index(world), profile.agent, self.profile.index)

    def sft_folder(self, profile: Profile) -> Path:
        """Where the warm start of a profile lies, trained or not."""
        tiles = code_of("visor_core.nano.tiles") if is_tiled(profile.agent) else ""
        lessons = (self._retriever_tag, profile.index, profile.agent, profile.teacher, code_of(*LESSONS))
        tag = tag_of(self._base_tag, tiles, *lessons, profile.sft, code_of("visor_core.training.sft"))
        return self.folder / f"sft-{profile.agent.strategy}-{tag}"

    def sft(self, profile: Profile) -> Path:
        """The warm start of a profile's strategy on its own teacher's episodes."""
        from visor_core.training.sft import train_sft

        folder = self.sft_folder(profile)
        if not stage_record(folder).done:
            base, world = self.base(tiled=is_tiled(profile.agent)), self.world("train")
            index = self.index(world)
            self.progress(f"seed {self.seed}: teacher and SFT, {profile.agent.strategy}")
            with self.training(folder, agent=profile.agent, teacher=profile.teacher, sft=profile.sft) as on_step:
                train_sft(base, self.lessons(profile), index, profile.sft, folder, self.seed, on_step=on_step)
        return folder / "final"

    def grpo_folder(self, profile: Profile) -> Path:
        """Where the reinforced policy of a profile lies, trained or not."""
        tag = tag_of(self.sft_folder(profile).name, profile.grpo, code_of("visor_core.training.grpo"))
        return self.folder / f"grpo-{profile.agent.strategy}-{tag}"

    def grpo(self, profile: Profile) -> Path:
        """GRPO from the warm start."""
        from visor_core.training.grpo import train_grpo

        folder = self.grpo_folder(profile)
        if not stage_record(folder).done:
            start, world = self.sft(profile), self.world("train")
            questions, environment = grpo_questions(self.questions(world), profile), self.environment(world, profile)
            self.progress(f"seed {self.seed}: GRPO, {profile.agent.strategy}")
            index = self.index(world)
            with self.training(folder, agent=profile.agent, grpo=profile.grpo) as on_step:
                train_grpo(start, questions, environment, index, profile.grpo, folder, self.seed, on_step=on_step)
        return folder / "final"

    def lessons(self, profile: Profile) -> list[Trajectory]:
        """The teacher's good episodes under a profile's strategy, balanced over their number of turns."""
        wanted, world = profile.teacher, self.world("train")
        episodes: list[Trajectory] = []
        evaluate(
            ScriptedTeacher(world, wanted, profile.agent, seed=self.seed),
            self.environment(world, profile),
            teacher_questions(self.questions(world), profile),
            profile.evaluation.model_copy(update={"temperature": 0.0, "questions": None}),
            seed=self.seed,
            store=self.episodes,
            on_episodes=episodes.extend,
        )
        good = keep_good(episodes, min_steps=wanted.min_steps, max_steps=wanted.max_steps)
        return list(balance(good.kept, wanted.trajectories, self.seed))

    @property
    def episodes(self) -> Path:
        """Where played episodes are kept, by the code that plays them."""
        return self.folder / f"episodes-{code_of(*EPISODES)}"

    def policy(self, checkpoint: Path, index: PageIndex) -> TransformersPolicy:
        """A checkpoint as a policy."""
        return TransformersPolicy(checkpoint, index, name=stage_folder(checkpoint).name, max_batch=128)

    def checkpoints(self, profile: Profile) -> dict[str, Path]:
        """Checkpoints by stage, trained where they are not: `base`, `sft`, `grpo`."""
        base = self.base(tiled=is_tiled(profile.agent))
        self.retriever()
        return {"base": base, "sft": self.sft(profile), "grpo": self.grpo(profile)}

    def close(self) -> None:
        """Release the indexes."""
        while self._indexes:
            self._indexes.popitem()[1].close()
