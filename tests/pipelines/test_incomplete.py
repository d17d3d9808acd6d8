"""A build that is not all that was asked for says so, and is gone on with when it is asked for again."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from assets_defs.machinery.builds import Builds, find_record
from assets_defs.machinery.graph import is_current
from assets_defs.machinery.stage import Node
from pipelines.choice import Choice
from pipelines.run import RunSummary
from tests.pipelines.chat_server import scripted_reader, serving
from tests.pipelines.materializing import materialize
from tests.pipelines.test_cli_corpus import write_pdf
from visor_core.config import Home, Profile
from visor_core.errors import PolicyError
from visor_core.policies.calls import Calls
from visor_core.questions import Question, write_questions

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.slow]

TEACHER = Node("teacher_trajectories")
QUESTIONS = 8
SETTINGS = {
    "corpora": {"train": "quays", "development": "piers"},
    "documents.ocr": "never",
    "documents.workers": 1,
    "index.embedders": ["hash"],
    "teacher.model": "big",
    "teacher.server.retries": 0,
    "teacher.server.completion_price": 1e5,
    "evaluation.concurrency": 1,
}
"""A reply has 10 completion tokens: it costs 1, an episode of three turns 3."""


class Quays:
    """A home with a corpus of the user's, and a teacher that can be taken away."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.asked = 0
        self.away = threading.Event()

    def reply(self, messages: list[dict[str, Any]]) -> str | dict[str, Any]:
        """What the teacher says; while it is away, nothing that could be read."""
        self.asked += 1
        return {"finish_reason": "stop"} if self.away.is_set() else scripted_reader(messages)

    def run(self, endpoint: str, **more: object) -> RunSummary:
        return materialize(self.choice(endpoint, **more), self.home, [TEACHER.stage])

    def choice(self, endpoint: str, **more: object) -> Choice:
        path = self.home.root / "mine.yaml"
        path.write_text("name: mine", encoding="utf-8")
        given = SETTINGS | {"teacher.endpoint": endpoint} | {f"teacher.server.{k}": v for k, v in more.items()}
        return Choice(str(path), given)

    def profile(self, endpoint: str, **more: object) -> Profile:
        return self.choice(endpoint, **more).resolve()


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the corpus and its questions; its teacher was not asked yet."""
    quays = Quays(tmp_path_factory.mktemp("home"))
    inbox = quays.home.inbox("quays")
    inbox.mkdir(parents=True)
    write_pdf(inbox / "quay.pdf", ("the areas of the English Channel coast are Kent and Normandy",))
    asked = [
        Question(f"q{n}", f"Which areas are named {n}?", ("Kent, Normandy",), benchmark="test")
        for n in range(QUESTIONS)
    ]
    write_questions(inbox.parent / "quays.questions.parquet", asked)
    materialize(quays.choice("http://127.0.0.1:9/v1"), quays.home, ["questions"], corpus="quays")
    return quays.home.root


@pytest.fixture
def quays(read: Path, tmp_path: Path) -> Quays:
    return Quays(Path(shutil.copytree(read, tmp_path / "home")))


def test_a_teacher_whose_budget_is_spent_goes_on_when_it_is_raised(quays: Quays) -> None:
    with serving(quays.reply) as endpoint:
        first = quays.run(endpoint, max_cost=15)
        figures = first.figures(TEACHER.stage)
        assert (figures["episodes"], figures["kept"], figures["failed"]) == (QUESTIONS, 5, 3)
        assert "3 of 8 questions not played" in str(figures["incomplete"])
        assert "the limit 15.0 is reached" in str(figures["incomplete"])
        assert first.results[-1].warnings == ("teacher_trajectories: every_question_was_played",)
        profile = quays.profile(endpoint, max_cost=15)
        assert find_record(quays.home, TEACHER) is not None  # what there is may be trained on
        assert not is_current(TEACHER, profile, quays.home)

        # The limit holds for the work, not for each start: the same budget buys nothing more.
        spent = quays.asked
        assert quays.run(endpoint, max_cost=15).figures(TEACHER.stage) == figures
        assert quays.asked == spent

        raised = quays.run(endpoint, max_cost=100)
        figures = raised.figures(TEACHER.stage)
        assert (figures["episodes"], figures["kept"], "incomplete" in figures) == (QUESTIONS, QUESTIONS, False)
        assert raised.results[-1].warnings == ()
        assert quays.asked - spent == 3 * 3
        with Calls(quays.home.calls) as calls:  # the ledger counts each reply once, over all starts
            assert [(t.purpose, t.paid, t.cost) for t in calls.totals()] == [
                ("teacher", 3 * QUESTIONS, 3.0 * QUESTIONS)
            ]
        record = Builds(quays.home, profile).read(TEACHER)
        assert record == find_record(quays.home, TEACHER)  # neither budget nor pace is part of the fingerprint
        assert is_current(TEACHER, profile, quays.home)


@pytest.mark.slow_walk
def test_a_teacher_that_went_away_is_asked_again_for_what_it_did_not_play(quays: Quays) -> None:
    def goes_away(messages: list[dict[str, Any]]) -> str | dict[str, Any]:
        if quays.asked >= 3 * 6:
            quays.away.set()
        return quays.reply(messages)

    with serving(goes_away) as endpoint:
        figures = quays.run(endpoint).figures(TEACHER.stage)
        assert (figures["kept"], figures["failed"]) == (6, 2)
        assert "2 of 8 questions not played" in str(figures["incomplete"])
        lineage = json.loads(
            (
                Builds(quays.home, quays.profile(endpoint)).read(TEACHER).build_folder(quays.home) / "lineage.json"
            ).read_text()
        )
        assert lineage["figures"]["incomplete"] == figures["incomplete"]

        quays.asked = 0
        quays.away.clear()
        figures = quays.run(endpoint).figures(TEACHER.stage)
        assert (figures["kept"], "incomplete" in figures) == (QUESTIONS, False)
        assert quays.asked == 2 * 3


def test_a_teacher_that_is_not_there_at_all_is_a_failure(quays: Quays) -> None:
    quays.away.set()
    with serving(quays.reply) as endpoint, pytest.raises(PolicyError, match="all 8 episodes failed"):
        quays.run(endpoint)
    assert find_record(quays.home, TEACHER) is None
