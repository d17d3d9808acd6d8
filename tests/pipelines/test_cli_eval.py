"""`visor eval` through a real server: what it keeps, under which name it writes, and what it says of failures."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow.artifacts import load_dict

from assets_defs.machinery.links import links_address
from tests.pipelines.conftest import Outcome, Visor
from tests.pipelines.measured_home import TRACKED, measured_home
from tests.visor_core.evaluation.model_server import ModelServer, model_server
from visor_core.config import Home
from visor_core.tracking import Tracker

pytestmark = TRACKED


@pytest.fixture
def home(visor: Visor, tmp_path: Path) -> Path:
    """An ingested corpus of two documents, and questions on both."""
    answers = {"acme": "47", "borel": "31"}
    pages = {name: f"{name} staff {answer}" for name, answer in answers.items()}
    asked = [(name, f"{name} staff?", answer) for name, answer in answers.items()]
    return measured_home(visor, tmp_path, pages, asked, "Str")


def _eval(visor: Visor, home: Path, server: ModelServer, *options: str) -> Outcome:
    return visor(
        "eval", "--benchmark", "mmlongbench", "--questions", str(home.parent / "questions.json"), "--corpus",
        "documents", "--endpoint", server.url, "--model", "toy", "--set", "server.retries=0", *options,
    )  # fmt: skip


def _results(home: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((home / "evaluations").glob("*.json"))]


def test_another_server_of_the_same_model_name_is_asked_itself(visor: Visor, home: Path) -> None:
    with model_server(answer="47") as one, model_server(answer="31") as other:
        assert _eval(visor, home, one).code == 0
        assert _eval(visor, home, other).code == 0
    assert (one.asked, other.asked) == (4, 4)
    answers = sorted(str([row["answer"] for row in result["episodes"]]) for result in _results(home))  # type: ignore[attr-defined]
    assert answers == ["['31', '31']", "['47', '47']"]


def test_eval_says_what_it_kept_and_how_to_begin_anew(visor: Visor, home: Path) -> None:
    with model_server() as server:
        first = _eval(visor, home, server)
        again = _eval(visor, home, server)
        asked = server.asked
        _eval(visor, home, server, "--set", "server.revision=second")
        anew = server.asked
        _eval(visor, home, server, "--fresh")
    assert (asked, anew, server.asked) == (4, 8, 12)
    assert "kept from earlier calls" not in first.out
    assert "2 of 2 episodes kept from earlier calls (20" in again.out
    assert "--fresh, or another server.revision for other weights, plays them anew" in again.out


def test_failed_requests_are_counted_apart(visor: Visor, home: Path) -> None:
    with model_server(answer="47", fault="borel staff") as server:
        outcome = _eval(visor, home, server)
    (result,) = _results(home)
    assert outcome.code == 1
    assert result["metrics"]["accuracy"] == 1.0  # type: ignore[index]
    assert result["metrics"]["accuracy_of_all"] == 0.5  # type: ignore[index]
    assert result["metrics"]["failed"] == 1.0  # type: ignore[index]
    assert "1 failed of 2" in outcome.out
    assert "1 failed of 2; accuracy is over the 1 others" in outcome.err
    assert "refuses the request" in outcome.err
    assert visor("report").code == 0
    report = (home / "reports" / "report.html").read_text(encoding="utf-8")
    assert "1 failed of 2" in report
    assert "a failed one counts as wrong" in report


def test_an_evaluation_whose_last_episode_fails_again_is_written(visor: Visor, home: Path) -> None:
    """The one missing episode fails: what the others found is a result all the same."""
    with model_server(answer="47", fault="borel staff") as server:
        outcomes = [_eval(visor, home, server) for _ in range(2)]
    assert [outcome.code for outcome in outcomes] == [1, 1]
    assert "1 of 2 episodes kept" in outcomes[1].out
    assert len(_results(home)) == 1


def test_figures_of_an_endpoint_are_right_or_absent(visor: Visor, home: Path) -> None:
    with model_server(answer="47") as server:
        assert _eval(visor, home, server).code == 0
    (result,) = _results(home)
    metrics: dict[str, float] = result["metrics"]  # type: ignore[assignment]
    assert metrics["completion_tokens_per_turn"] == 10.0  # by the server's usage
    assert metrics["prompt_tokens_per_turn"] == 100.0
    assert "image_tokens_per_turn" not in metrics  # the server does not say
    assert [row["image_tokens"] for row in result["episodes"]] == [None, None]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("labels", "files"), [(("run/x", "run x", "run-x"), 3), (("run é", "run e\u0301"), 1)], ids=["lossy", "NFC and NFD"]
)
def test_a_result_has_a_file_of_its_own(visor: Visor, home: Path, labels: tuple[str, ...], files: int) -> None:
    with model_server() as server:
        for label in labels:
            assert _eval(visor, home, server, "--label", label).code == 0
    names = [path.stem for path in (home / "evaluations").glob("*.json")]
    assert len(names) == files
    assert all(name.startswith("run-") for name in names)


def test_the_same_label_for_other_inputs_is_another_file(visor: Visor, home: Path) -> None:
    with model_server() as server:
        for temperature in ("0", "1"):
            assert _eval(visor, home, server, "--label", "mine", "--temperature", temperature).code == 0
        # A setting holds where no option is given.
        given = ("--set", "evaluation.temperature=0.5", "--set", "evaluation.questions=1")
        assert _eval(visor, home, server, "--label", "mine", *given).code == 0
    found = {result["temperature"]: len(result["episodes"]) for result in _results(home)}  # type: ignore[arg-type]
    assert found == {0.0: 2, 1.0: 2, 0.5: 1}


def test_a_label_too_long_for_a_file_is_shortened(visor: Visor, home: Path) -> None:
    with model_server() as server, suppress(OSError):
        _eval(visor, home, server, "--label", "long" * 100)
    assert server.asked == 4
    assert [len(path.name.encode()) < 143 for path in (home / "evaluations").glob("*.json")] == [True]


def test_a_result_that_cannot_be_written_is_known_before_anything_is_paid(visor: Visor, home: Path) -> None:
    (home / "evaluations").write_text("in the way", encoding="utf-8")
    outcome = Outcome(-1, "", "")
    with model_server() as server, suppress(OSError, ExceptionGroup):
        outcome = _eval(visor, home, server)
    assert server.asked == 0
    assert outcome.code == 2
    assert "the result cannot be written to" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_failed_evaluation_leaves_no_empty_result(visor: Visor, home: Path) -> None:
    with model_server(fault="staff") as server:
        outcome = _eval(visor, home, server)
    assert outcome.code == 2
    assert "all 2 episodes failed" in outcome.err
    assert list((home / "evaluations").glob("*.json")) == []


@pytest.mark.parametrize("way", [("--strategy", "react"), ("--set", "agent.strategy=react")])
def test_a_strategy_named_is_the_strategy_run(visor: Visor, home: Path, way: tuple[str, str]) -> None:
    with model_server() as server:
        assert _eval(visor, home, server, *way, "--set", "agent.max_turns=4").code == 0
    assert "<bbox>" not in server.heard
    assert "Evidence Space" not in server.heard
    (result,) = _results(home)
    agent = result["identity"]["environment"]["agent"]  # type: ignore[index]
    assert result["strategy"] == agent["strategy"] == "react"
    assert (agent["window"], agent["crop_enabled"], agent["evidence"]["enabled"]) == (None, False, False)
    assert agent["max_turns"] == 4


@pytest.mark.slow
def test_an_evaluation_is_a_run_with_its_questions_as_a_table(
    visor: Visor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with model_server(answer="47") as server:
        told = _eval(visor, home, server)
    assert f"its run in MLflow: {links_address(Home(home))}/mlflow/#/runs/" in told.out
    tracker = Tracker(Home(home), "visor-default")
    (run,) = tracker.client.search_runs([tracker.experiment_id])
    assert (run.info.status, run.data.metrics["accuracy"]) == ("FINISHED", 0.5)
    assert run.data.params["agent.strategy"] == "visor"
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == ["mmlongbench"]
    table = load_dict(f"{run.info.artifact_uri}/questions/all.json")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(row["question"], row["expected"], row["correct"]) for row in rows] == [
        ("acme staff?", "47", True),
        ("borel staff?", "31", False),
    ]
    assert rows[0]["expected_pages"] == "acme.pdf, page 1"
    wrong = tracker.client.get_trace(rows[1]["trace_id"])
    assert {a.name: a.value for a in wrong.info.assessments}["correct"] is False

    def stopped(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("visor_core.trajectories.playing.play", stopped)
    with model_server() as server, suppress(KeyboardInterrupt):
        _eval(visor, home, server)
    ends = {found.info.status for found in tracker.client.search_runs([tracker.experiment_id])}
    assert ends == {"FINISHED", "KILLED"}


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("develpment", "--split 'develpment' is not here: choose one of train, development"),
        ("development", "nothing was built under"),
    ],
)
def test_a_split_that_is_not_here_is_refused_with_those_that_are(
    visor: Visor, home: Path, split: str, words: str
) -> None:
    asked = ("eval", "--split", split, "--endpoint", "http://127.0.0.1:9/v1", "--model", "none")
    refused = visor(*asked)
    assert (refused.code, words in refused.err) == (2, True), refused.err
    Home(home).corpus("nano-train").mkdir(parents=True)
    assert f"--split '{split}' is not here: choose one of train" in visor(*asked).err
