"""`visor best-of` through a real server: what it plays, keeps, says and writes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.pipelines.conftest import Visor
from tests.pipelines.measured_home import TRACKED
from tests.pipelines.test_cli_eval import home
from tests.visor_core.evaluation.model_server import ModelServer, model_server

__all__ = ["home"]
pytestmark = TRACKED


def _options(home: Path, server: ModelServer, samples: int) -> list[str]:
    return [
        "best-of", "--samples", str(samples), "--benchmark", "mmlongbench", "--questions",
        str(home.parent / "questions.json"), "--corpus", "documents", "--endpoint", server.url, "--model", "toy",
        "--set", "server.retries=0",
    ]  # fmt: skip


def test_more_samples_go_on_where_fewer_ended(visor: Visor, home: Path) -> None:
    with model_server(answer="47") as server:
        first = visor(*_options(home, server, 2))
        two = server.asked
        again = visor(*_options(home, server, 3))
        three = server.asked
        greedy = visor(*_options(home, server, 2), "--temperature", "0")
    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert (two, three) == (8, 12)
    assert "spent on best-of: 8 calls, 880 tokens, cost 0 now; 8 calls" in first.out
    assert "spent on best-of: 4 calls, 440 tokens, cost 0 now; 12 calls" in again.out
    assert greedy.code == 2
    assert "--temperature 0 plays the same episode every time" in greedy.err
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (home / "evaluations/best-of").glob("*.json")]
    assert sorted(len(record["stores"]) for record in records) == [2, 3]
    for record in records:
        assert record["questions"] == 2
        single = next(point for point in record["points"] if point["method"] == "first")
        assert single["right"]["estimate"] == 0.5
    # What a result stands on is not freed.
    assert "without a result" not in visor("gc").out


def test_a_question_that_fails_is_left_out_and_said(visor: Visor, home: Path) -> None:
    with model_server(answer="47", fault="borel staff") as server:
        outcome = visor(*_options(home, server, 2))
    assert outcome.code == 0, outcome.err
    assert "1 of 2 questions failed in an episode and are left out" in outcome.out


def test_a_setting_says_how_many_questions_where_no_option_does(visor: Visor, home: Path) -> None:
    with model_server(answer="47") as server:
        outcome = visor(*_options(home, server, 2), "--set", "evaluation.questions=1")
    assert outcome.code == 0, outcome.err
    (path,) = (home / "evaluations/best-of").glob("*.json")
    assert json.loads(path.read_text(encoding="utf-8"))["questions"] == 1
