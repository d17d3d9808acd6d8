"""`visor judge`, `visor eval --protocol` and `visor spending` through real servers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from tests.pipelines.conftest import Outcome, Visor
from tests.pipelines.measured_home import TRACKED, measured_home
from tests.visor_core.evaluation.judge_server import JudgeServer, judge_server
from tests.visor_core.evaluation.model_server import ModelServer, model_server
from visor_core.config import Home
from visor_core.evaluation.results import BenchmarkResult, read_result
from visor_core.tracking import Tracker

pytestmark = TRACKED
NAMES = {"acme": "47", "borel": "31", "cirrus": "47"}


@pytest.fixture
def home(visor: Visor, tmp_path: Path) -> Path:
    """An ingested corpus of three documents, and a question on each."""
    pages = {name: f"{name} staff {value}" for name, value in NAMES.items()}
    asked = [(name, f"{name} staff?", value) for name, value in NAMES.items()]
    return measured_home(visor, tmp_path, pages, asked, "Int")


def _eval(visor: Visor, home: Path, server: ModelServer, *options: str) -> Outcome:
    return visor(
        "eval", "--benchmark", "mmlongbench", "--questions", str(home.parent / "questions.json"), "--corpus",
        "documents", "--endpoint", server.url, "--model", "toy", "--label", "mine", *options,
    )  # fmt: skip


def _result(home: Path) -> BenchmarkResult:
    (path,) = (home / "evaluations").glob("*.json")
    return read_result(path)


def _asked(server: JudgeServer, option: str = "--") -> list[str]:
    return [f"{option}endpoint", server.url, f"{option}model", "judge"]


@pytest.mark.slow
def test_rule_judge_and_official_in_one_command_and_more_later(visor: Visor, home: Path) -> None:
    with model_server(answer="about 47") as player, judge_server() as server:
        protocols = ["--protocol", "judge", "--protocol", "official", *_asked(server, "--judge-")]
        told = _eval(visor, home, player, *protocols)
        assert told.code == 0, told.err
        assert server.calls == 6
        # By the rule "about 47" is no integer; the judge and the extractor read it.
        figures = _result(home).metrics()
        assert (figures["accuracy"], figures["judge_accuracy"], figures["official_accuracy"]) == (0.0, 2 / 3, 2 / 3)
        assert figures["official_f1"] == pytest.approx(2 / 3)
        assert figures["judge_kappa_with_rule"] == 0.0
        assert "spent on judge: 3 calls, 315 tokens, cost 0 now; 3 calls, 315 tokens, cost 0 in all" in told.out
        assert "spent on eval: 6 calls, 660 tokens, cost 0 now; 6 calls, 660 tokens, cost 0 in all" in told.out
        assert "judge (judge)" in told.out
        assert "kappa with the rule 0.000" in told.out
        again = _eval(visor, home, player, *protocols)
        assert server.calls == 6
        assert "spent on judge: 0 calls, 0 tokens, cost 0 now; 3 calls, 315 tokens, cost 0 in all" in again.out
        asked = player.asked
        graded = visor("judge", "mine", "--protocol", "judge-1-5", *_asked(server))
        assert graded.code == 0, graded.err
    assert player.asked == asked
    assert server.calls == 9
    assert [scores.name for scores in _result(home).protocols] == ["judge", "official", "judge-1-5"]
    listed = visor("spending").out
    # A table, or a line each where it does not fit: the model's name, then the purpose.
    purposes = [re.findall(r"judge-1-5|judge|official", line)[1] for line in listed.splitlines() if server.url in line]
    assert purposes == ["judge", "judge-1-5", "official"]
    assert "Spent on endpoints: 15 calls, 1,605 tokens, cost 0; `visor spending` lists it" in visor("doctor").out
    assert visor("report").code == 0
    assert "judge-1-5 (judge" in (home / "reports" / "report.html").read_text(encoding="utf-8")
    tracker = Tracker(Home(home), "visor-default")
    runs = tracker.client.search_runs([tracker.experiment_id])
    assert {run.data.metrics.get("judge_1_5_accuracy") for run in runs} >= {2 / 3}


def test_a_budget_stops_judging_and_the_next_call_goes_on(visor: Visor, home: Path) -> None:
    with model_server(answer="47") as player, judge_server() as server:
        options = ["--judge-set", "server.concurrency=1", *_asked(server, "--judge-"), "--protocol", "judge"]
        stopped = _eval(visor, home, player, *options, "--budget", "150tokens")
        assert stopped.code == 2
        assert "stopped by the budget: 2 of 3 judged; 210 tokens are spent of the 150 allowed" in stopped.err
        assert "raise --budget" in stopped.err
        assert _result(home).protocols == ()
        assert visor("judge", "mine", *_asked(server)).code == 0
    assert server.calls == 3
    assert [verdict.score for verdict in _result(home).protocols[0].verdicts] == [1.0, 0.0, 1.0]


def test_official_figures_over_both_editions_of_one_evaluation(visor: Visor, home: Path) -> None:
    """One answer a question, one extraction, and the figures by the gold of each file."""
    items = json.loads((home.parent / "questions.json").read_text(encoding="utf-8"))
    corrected = [{**items[0], "answer": "31"}, {**items[1], "answer": "Not answerable", "answer_format": "None"}]
    pl.DataFrame(corrected).write_parquet(home.parent / "train.parquet")
    files = [str(home.parent / name) for name in ("questions.json", "train.parquet")]
    taken = visor("questions", "import", *files)
    assert "edition questions.json: 3 of the questions, 3 answerable" in taken.out
    assert "edition train.parquet: 2 of the questions, 1 answerable" in taken.out
    with model_server(answer="about 47") as player, judge_server() as server:
        options = ["--protocol", "official", *_asked(server, "--judge-")]
        told = visor(
            "eval", "--benchmark", "mmlongbench", "--corpus", "documents", "--endpoint", player.url, "--model", "toy",
            *options,
        )  # fmt: skip
        assert (told.code, server.calls) == (0, 3), told.err
    figures = _result(home).metrics()
    assert figures["official_accuracy_questions_json"] == pytest.approx(2 / 3)
    assert figures["official_f1_questions_json"] == pytest.approx(2 / 3)
    assert figures["official_accuracy_train_parquet"] == 0.0
    shown = " ".join(told.out.split())
    assert "edition questions.json, 3 of its questions, protocol official (judge," in shown
    assert "over the 1 answerable questions 0.000" in shown
    assert visor("questions", "import", *files, str(home.parent / "questions.json")).code == 2


def test_verdicts_of_one_protocol_stand_where_the_next_one_fails(
    visor: Visor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = JudgeServer.verdict
    monkeypatch.setattr(
        JudgeServer, "verdict", lambda self, system, *of: "?" if "1 to 5" in system else verdict(system, *of)
    )
    with model_server(answer="47") as player, judge_server() as server:
        both = ["--protocol", "judge", "--protocol", "judge-1-5"]
        told = _eval(visor, home, player, *both, *_asked(server, "--judge-"))
        assert "all 3 verdicts failed" in told.err
        assert "kept as " in told.out
        assert [scores.name for scores in _result(home).protocols] == ["judge"]
        assert visor("judge", "mine", *both, *_asked(server)).code == 2
    assert [scores.name for scores in _result(home).protocols] == ["judge"]


def test_a_reply_that_cannot_be_read_is_no_success_and_more_tries_ask_again(
    visor: Visor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its replies are kept, so that the same call asks nobody: what does is said."""
    verdict = JudgeServer.verdict
    unsure = lambda self, *of: "?" if "borel" in str(of) else verdict(*of)  # noqa: E731
    monkeypatch.setattr(JudgeServer, "verdict", unsure)
    with model_server(answer="47") as player, judge_server() as server:
        played = _eval(visor, home, player, "--protocol", "judge", *_asked(server, "--judge-"))
        assert (played.code, server.calls) == (1, 5)
        assert "of 1 the replies could not be read and are kept: --tries 6 asks up to 3 times more" in played.err
        assert visor("judge", "mine", *_asked(server)).code == 1
        assert server.calls == 5
        monkeypatch.setattr(JudgeServer, "verdict", staticmethod(verdict))
        told = visor("judge", "mine", *_asked(server), "--tries", "6")
        assert (told.code, server.calls) == (0, 6), told.err
    assert _result(home).protocols[0].failed == 0


def test_figures_are_whole_in_a_narrow_terminal(visor: Visor, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with model_server(answer="47") as player:
        figures = _eval(visor, home, player)
        assert figures.code == 0
        told = visor("spending").out
    assert "\nmine: protocol rule; questions 3; answers right 0.667 [" in figures.out
    assert f"{player.url} toy, eval: 6 paid calls; " in told


def test_options_of_a_judge_without_a_protocol_are_refused(visor: Visor) -> None:
    for options in (("--budget", "abc"), ("--judge-endpoint", "http://127.0.0.1:9/v1"), ("--judge-model", "m")):
        outcome = visor("eval", *options)
        assert (outcome.code, "add --protocol judge, judge-1-5 or official" in outcome.err) == (2, True)


def test_a_judge_is_tried_on_answers_of_known_worth(visor: Visor) -> None:
    with judge_server() as server:
        told = visor("judge", "--calibrate", *_asked(server))
        refused = visor("judge", "--calibrate", "--protocol", "official", *_asked(server))
    assert told.code == 0, told.err
    assert "judge by judge: accuracy 0." in told.out
    assert "  names: called wrong, is right: gold 'World Health Organization', answer 'WHO'" in told.out
    assert (refused.code, "--calibrate tries a judge" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --endpoint URL and --model NAME"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--protocol", "vote"], "'vote' is not one of judge,"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--budget", "2.5"], "needs server.prompt_price"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--set", "agent.window=2"], "says nothing of a judge"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--prompts", "none.yaml"], "no prompts at none.yaml"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--model", "m"], "no evaluation 'mine'"),
    ],
)
def test_what_cannot_be_judged_is_one_line(visor: Visor, options: list[str], said: str) -> None:
    outcome = visor("judge", "mine", *options)
    assert outcome.code == 2
    assert said in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_result_of_a_build_is_not_changed(visor: Visor, tmp_path: Path) -> None:
    path = tmp_path / "home" / "assets" / "benchmark_results" / "sft.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}", encoding="utf-8")
    outcome = visor("judge", str(path), "--endpoint", "http://127.0.0.1:9/v1", "--model", "m")
    assert outcome.code == 2
    assert "belongs to a build, which is not changed" in outcome.err


def test_nothing_spent_is_said(visor: Visor) -> None:
    assert "nothing has been asked of a paid endpoint yet" in visor("spending").out
