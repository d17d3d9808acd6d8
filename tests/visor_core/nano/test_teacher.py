"""The scripted teacher through the real environment: it reaches the ceiling, and its mistakes are corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.nano_setting import AGENT as COMPACT
from tests.nano_setting import INDEX, nano_index
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig, NanoConfig, TeacherConfig
from visor_core.errors import ConfigError
from visor_core.index import PageIndex
from visor_core.nano.questions import OPERATIONS, make_questions
from visor_core.nano.teacher import ScriptedTeacher, parse_question
from visor_core.nano.world import World, write_world
from visor_core.scoring.facts import supported
from visor_core.training.rewards import RewardContext
from visor_core.training.rewards.crop import crop

AGENT = COMPACT.model_copy(update={"max_turns": 10, "max_new_tokens": 32})
PERFECT = TeacherConfig(wrong_page=0, loose_crop=0, wrong_label=0)


@dataclass(frozen=True)
class Setting:
    """A world and its index."""

    world: World
    index: PageIndex

    def play(self, config: TeacherConfig, number: int = 40) -> list[Trajectory]:
        """Episodes of a teacher over all kinds of questions."""
        questions = make_questions(self.world, number, seed=5, operations=OPERATIONS)
        return run_reference(
            Environment(self.index, AGENT, INDEX),
            ScriptedTeacher(self.world, config, AGENT, seed=1),
            questions,
        )


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """One small corpus, registered and indexed for real."""
    folder = tmp_path_factory.mktemp("teacher")
    world = write_world(folder / "pdf", "train", NanoConfig(train_corpora=1, companies=4, topics=3), seed=2)
    return Setting(world, nano_index(folder / "corpus", folder / "pdf"))


def _verdicts(episodes: Sequence[Trajectory]) -> list[tuple[str, str]]:
    """(what was judged, the action taken instead) of every rejection."""
    return [
        (before.observation.kind, turn.action.kind)
        for episode in episodes
        for before, turn in zip(episode.turns, episode.turns[1:], strict=False)
        if turn.action.verdict == "reject"
    ]


def test_without_mistakes_every_question_is_answered_with_its_evidence(setting: Setting) -> None:
    episodes = setting.play(PERFECT)
    assert sum(supported(e) for e in episodes) / len(episodes) >= 0.98
    assert all(e.well_formed for e in episodes)
    assert {e.question.hops for e in episodes} == {1, 2}
    kinds = {e.question.question.split()[0] for e in episodes if e.question.hops == 2}
    assert kinds == set(OPERATIONS)
    right = [e for e in episodes if supported(e)]
    assert [crop(e, RewardContext()) for e in right] == [1.0] * len(right)
    assert {bool(e.question.gold_boxes) for e in right} == {True, False}


def test_mistakes_are_rejected_and_corrected(setting: Setting) -> None:
    episodes = setting.play(TeacherConfig(wrong_page=0.5, loose_crop=0.3, wrong_label=0.3))
    assert all(turn.action.well_formed for e in episodes for turn in e.turns)
    found = _verdicts(episodes)
    assert ("crop", "crop") in found
    assert ("page", "search") in found
    assert ("crop", "search") in found
    assert sum(supported(e) for e in episodes) / len(episodes) >= 0.7


def test_the_teacher_is_seeded(setting: Setting) -> None:
    config = TeacherConfig(wrong_page=0.5, loose_crop=0.3, wrong_label=0.3)
    first, second = setting.play(config, 8), setting.play(config, 8)
    assert [[t.completion.text for t in e.turns] for e in first] == [
        [t.completion.text for t in e.turns] for e in second
    ]


def test_legible_pages_are_read_without_a_crop(setting: Setting) -> None:
    legible = {p.page_id for p in setting.world.pages if p.legible}
    for episode in setting.play(PERFECT):
        gold = set(episode.question.gold_pages)
        if gold <= legible:
            assert all(turn.action.kind != "crop" for turn in episode.turns)


def test_questions_of_another_world_are_refused() -> None:
    assert parse_question("higher acme , borel staff q3").subjects == ("acme staff", "borel staff")
    with pytest.raises(ConfigError, match="cannot read the question"):
        parse_question("What was the revenue?")


def test_other_prompts_are_refused(setting: Setting, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compact"):
        ScriptedTeacher(setting.world, PERFECT, AgentConfig())
