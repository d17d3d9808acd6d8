"""The champion gate with a real MLflow registry, tiny checkpoints, a real index and a real evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from assets_defs import champion_model
from assets_defs.machinery.builds import INCOMPLETE, Builds, Record
from assets_defs.machinery.graph import is_built
from assets_defs.machinery.stage import Figure, Node
from assets_defs.machinery.tracking import Tracking
from assets_defs.machinery.workspace import Work
from pipelines.definitions import definitions
from pipelines.instance import open_instance
from pipelines.resources import PROFILES
from tests.nano_setting import DOCUMENTS, INDEX, nano_index
from tests.pipelines.laid_builds import lay
from tests.tiny_model import build_model, build_processor
from visor_core.config import Home, NanoConfig, Profile, load_profile
from visor_core.evaluation.results import BenchmarkResult, EpisodeResult
from visor_core.nano.questions import make_questions
from visor_core.nano.world import write_world
from visor_core.questions import Question, questions_version, write_questions
from visor_core.tracking import MODEL_FILE, RUN_FILE

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    # Dagster warns about its own call of its own preview function when a Pipes session begins (dagster 1.13).
    pytest.mark.filterwarnings("ignore:.*expected_writer_count.*"),
    pytest.mark.slow,
]

TRAIN, DEVELOPMENT = "nano-train", "nano-development"
ASKED = 8
"""Questions: eight gains of eight are significant (p = 2/2⁸), four of eight are not."""


@dataclass(frozen=True)
class Setting:
    """A home up to its benchmark: a real development index with its questions, and checkpoints as they are laid."""

    home: Home
    questions: tuple[Question, ...]
    index_tag: str

    def profile(self, **changes: object) -> Profile:
        """The settings of one retraining."""
        return load_profile(PROFILES / "nano.yaml", {"index.embedders": ["hash"], "index.mode": "text", **changes})

    def train(self, profile: Profile, seed: int, stages: Sequence[str] = ("sft_checkpoint", "grpo_checkpoint")) -> None:
        """Checkpoints of random weights, with their runs and logged models."""
        for stage in stages:
            folder = self.home.root / "trained" / f"{stage}-{seed}" / "final"
            build_model(seed * 2 + (stage == "grpo_checkpoint")).save_pretrained(folder)
            build_processor().save_pretrained(folder)
            record = lay(self.home, profile, Node(stage), f"{stage} {seed}", path=folder)
            tracker = Tracking.of(self.home, profile).tracker()
            run = tracker.open_run(stage)
            model = tracker.checkpoint(run, stage, folder)
            build = record.build_folder(self.home)
            (build / RUN_FILE).write_text(run, encoding="utf-8")
            (build / MODEL_FILE).write_text(model, encoding="utf-8")

    def measure(self, profile: Profile, *, sft: int, grpo: int) -> None:
        """A benchmark in which so many of the questions were answered with all evidence."""
        index = Builds(self.home, profile).read(Node("page_index", DEVELOPMENT))
        folder = self.home.root / "measured" / f"{profile.sft.steps}-{profile.grpo.steps}"
        for name, right in (("sft", sft), ("grpo", grpo)):
            rows = tuple(_episode(question, n < right) for n, question in enumerate(self.questions))
            result = BenchmarkResult("nano", "development", name, "", "visor", self.index_tag, 0, 0.0, "v", 1.0, rows)
            result.save(folder / f"{name}.json")
        figures = {"sft_supported": sft / ASKED, "grpo_supported": grpo / ASKED}
        lay(
            self.home,
            profile,
            Node("benchmark_results"),
            f"{folder.name}",
            path=folder,
            figures=figures,
            index_tag=index.index_tag,
        )

    def crown(self, profile: Profile) -> tuple[bool, Record]:
        """The asset as Dagster runs it, its check included."""
        job = definitions(self.home, profile).resolve_implicit_global_asset_job_def()
        with open_instance(self.home) as instance:
            done = job.execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey("champion_model")], raise_on_error=False
            )
        return done.success, Builds(self.home, profile).read(Node("champion_model"))

    def registered(self) -> dict[str, str]:
        """What stands under the alias."""
        found = Tracking.of(self.home, self.profile()).tracker().champion("visor-nano")
        assert found is not None
        return dict(found)


def _episode(question: Question, right: bool) -> EpisodeResult:
    return EpisodeResult(
        question_id=question.question_id,
        trajectory_id=question.question_id,
        partition=question.partition,
        hops=question.hops,
        answerable=True,
        outcome="answered",
        answer="",
        rule="exact",
        score=float(right),
        f1=None,
        supported=right,
        evidence=float(right),
        page_recall=1.0,
        page_precision=1.0,
        citation_recall=1.0,
        well_formed=True,
        turns=1,
        searches=0,
        crops=0,
        pages_seen=0,
        prompt_tokens=1,
        image_tokens=1,
        completion_tokens=1,
        seconds=0.1,
        cost=0.0,
    )


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Everything that stands above the checkpoints, laid; the development corpus is real."""
    home = Home(tmp_path / "home")
    world = write_world(tmp_path / "pdf", "development", NanoConfig(development_corpora=1, companies=3, topics=3), 0)
    index = nano_index(home.corpus(DEVELOPMENT), tmp_path / "pdf", DOCUMENTS, INDEX)
    questions = tuple(make_questions(world, ASKED, seed=5))
    setting = Setting(home, questions, index.tag)
    index.close()
    profile = setting.profile()
    for stage in ("nano_corpus", "base_model"):
        lay(home, profile, Node(stage))
    for corpus in (TRAIN, DEVELOPMENT):
        for stage in ("documents", "pages", "page_index"):
            lay(home, profile, Node(stage, corpus), index_tag=setting.index_tag)
        record = lay(home, profile, Node("questions", corpus), questions_version(questions))
        write_questions(record.folder(home) / "questions.parquet", questions)
    for stage in ("teacher_trajectories", "sft_dataset"):
        lay(home, profile, Node(stage))
    return setting


def test_the_best_of_todays_checkpoints_is_crowned_once(setting: Setting) -> None:
    """Equals: the reinforced one. Asked again, nothing is decided anew; the alias names what is in force."""
    profile = setting.profile()
    setting.train(profile, 1)
    setting.measure(profile, sft=4, grpo=4)
    for _ in range(2):
        succeeded, crowned = setting.crown(profile)
        assert succeeded
        assert (crowned.figures["champion"], crowned.figures["reason"]) == ("grpo_checkpoint", "there was no champion")
        assert setting.registered()["build"] == crowned.figures["build"]
        assert (crowned.data_version, setting.registered()["data_version"]) == (
            "grpo_checkpoint 1",
            "grpo_checkpoint 1",
        )


@pytest.mark.slow_walk
def test_a_champion_that_stays_keeps_its_own_versions_and_upstream(setting: Setting) -> None:
    """Four of eight against none prove nothing, and what the champion was made from is as it was."""
    first = setting.profile()
    setting.train(first, 1)
    setting.measure(first, sft=4, grpo=4)
    succeeded, crowned = setting.crown(first)
    assert succeeded
    assert (crowned.figures["champion"], crowned.figures["reason"]) == ("grpo_checkpoint", "there was no champion")
    version = setting.registered()["version"]
    second = setting.profile(**{"grpo.steps": 3})
    setting.train(second, 2, ["grpo_checkpoint"])
    setting.measure(second, sft=0, grpo=4)
    succeeded, kept = setting.crown(second)
    assert succeeded
    # It was played again, for real: noise answers nothing.
    assert (kept.figures["replaced"], kept.figures["supported"], kept.figures["candidate_gain"]) == (0, 0.0, 0.5)
    assert "not significantly better" in str(kept.figures["reason"])
    assert kept.fingerprint != crowned.fingerprint
    for field in ("data_version", "path", "index_tag", "upstream"):
        assert getattr(kept, field) == getattr(crowned, field)
    assert setting.registered()["version"] == version


@pytest.mark.slow_walk
def test_a_champion_is_replaced_by_a_better_one_and_by_an_equal_one_once_it_is_out_of_date(setting: Setting) -> None:
    first = setting.profile()
    setting.train(first, 1)
    setting.measure(first, sft=4, grpo=4)
    setting.crown(first)
    # Another warm start: the champion's upstream is out of date, and four of eight are not worse than none.
    other = {"sft.steps": 3}
    second = setting.profile(**other)
    setting.train(second, 2)
    setting.measure(second, sft=0, grpo=4)
    succeeded, record = setting.crown(second)
    assert succeeded
    assert "upstream is out of date" in str(record.figures["reason"])
    assert record.data_version == setting.registered()["data_version"] == "grpo_checkpoint 2"
    # The same warm start and another reinforcement: eight of eight are significant.
    third = setting.profile(**other, **{"grpo.steps": 3})
    setting.train(third, 3, ["grpo_checkpoint"])
    setting.measure(third, sft=0, grpo=8)
    succeeded, record = setting.crown(third)
    assert succeeded
    assert "significantly better" in str(record.figures["reason"])
    assert record.data_version == setting.registered()["data_version"] == "grpo_checkpoint 3"
    # The first settings again: their champion was deposed meanwhile, so it is decided again, and the alias agrees.
    succeeded, record = setting.crown(first)
    assert succeeded
    assert record.figures["build"] == setting.registered()["build"]
    # A checkpoint whose files are gone reigns no longer.
    reigning = record.folder(setting.home)
    reigning.rename(reigning.with_name("gone"))
    succeeded, record = setting.crown(second)
    assert succeeded
    assert record.figures["reason"] == "the files of the reigning champion are gone"


@pytest.mark.slow_walk
def test_what_the_reigning_champion_was_not_asked_yet_is_asked_by_the_next_run(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Episodes of it that failed leave the decision incomplete, and open to the next run."""
    first = setting.profile()
    setting.train(first, 1)
    setting.measure(first, sft=4, grpo=4)
    setting.crown(first)
    second = setting.profile(**{"grpo.steps": 3})
    setting.train(second, 2, ["grpo_checkpoint"])
    setting.measure(second, sft=0, grpo=4)
    worker = champion_model.run_worker

    def failing(work: Work, module: str, inputs: dict[str, str | Path]) -> dict[str, dict[str, Figure]]:
        reported = worker(work, module, inputs)
        return {name: {**figures, INCOMPLETE: "1 of 8 episodes failed"} for name, figures in reported.items()}

    monkeypatch.setattr(champion_model, "run_worker", failing)
    succeeded, kept = setting.crown(second)
    assert succeeded
    assert (kept.figures["replaced"], kept.incomplete) == (0, "1 of 8 episodes failed")
    assert not is_built(Node("champion_model"), second, setting.home)
    monkeypatch.undo()
    succeeded, kept = setting.crown(second)
    assert (succeeded, kept.figures["replaced"], kept.incomplete) == (True, 0, "")
