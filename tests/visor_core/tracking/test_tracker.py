"""MLflow under VISOR_HOME: runs continued by id, checkpoints as logged models, the champion alias."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pytest
from safetensors.numpy import save_file

from visor_core.config import Home, SFTConfig
from visor_core.errors import DataError
from visor_core.tracking import QUIET, RUN_FILE, VARIABLE, Tracker, knows_run, outcome_of, tracking_uri

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def tracker(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tracker:
    for name in (*QUIET, VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Tracker(home, "tests")


def _checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file({"w": np.ones(3, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "optimizer.pt").write_bytes(b"x" * 1000)
    return folder


def test_a_run_is_continued_by_its_id(tracker: Tracker) -> None:
    run = tracker.open_run("sft", tags={"stage": "sft_checkpoint"})
    tracker.metrics(run, {"loss": 2.0, "text": "x", "nothing": float("nan")}, step=1)
    assert tracker.open_run("sft", run_id=run) == run
    tracker.metrics(run, {"loss": 1.0}, step=2)
    tracker.close_run(run)
    found = tracker.client.get_run(run)
    assert found.data.metrics == {"loss": 1.0}
    assert found.info.status == "FINISHED"
    assert tracker.open_run("sft", run_id="0" * 32) != run


def test_a_stage_goes_on_with_the_run_its_folder_names(tracker: Tracker, tmp_path: Path) -> None:
    def begin() -> str:
        return tracker.open_stage(tmp_path / "sft", "sft", tags={"stage": "sft"}, settings={"sft": SFTConfig(steps=3)})

    run = begin()
    tracker.close_run(run, "FAILED")
    assert begin() == run
    assert (tmp_path / "sft" / RUN_FILE).read_text(encoding="utf-8") == run
    assert tracker.client.get_run(run).data.params["sft.steps"] == "3"
    assert tracker.client.get_run(run).data.tags["stage"] == "sft"


def test_a_training_step_is_logged_under_its_phase(tracker: Tracker) -> None:
    run = tracker.open_run("base")
    steps = [{"step": 4, "total": 9, "phase": "vision", "loss": 2.0, "time": 7.5}, {"step": 5, "loss": 1.0}]
    tracker.training_history(run, [*steps, {"step": 6, "loss": -2.8, "reward": 0.9}])
    history = {name: tracker.client.get_metric_history(run, name) for name in ("vision/loss", "loss")}
    assert {name: [(m.step, m.value) for m in found] for name, found in history.items()} == {
        "vision/loss": [(4, 2.0)],
        "loss": [(5, 1.0)],
    }
    assert history["vision/loss"][0].timestamp == 7500
    assert set(tracker.client.get_run(run).data.metrics) == {"vision/loss", "loss", "reward"}


def test_parameters_are_logged_once(tracker: Tracker) -> None:
    run = tracker.open_run("sft")
    tracker.parameters(run, {"steps": 3})
    tracker.parameters(run, {"steps": 4, "seed": 1})
    assert tracker.client.get_run(run).data.params == {"steps": "3", "seed": "1"}


def test_a_checkpoint_is_a_ready_logged_model_with_its_metrics(tracker: Tracker, home: Home, tmp_path: Path) -> None:
    run = tracker.open_run("sft")
    page = tmp_path / "episode-1.html"
    page.write_text("played", encoding="utf-8")
    made = _checkpoint(tmp_path / "final")
    model = tracker.checkpoint(run, "sft-3", made, step=3, metrics={"loss": 0.5}, samples=[page])
    tracker.evaluated(run, model, {"supported": 0.6}, dataset="development", digest="abc")
    found = tracker.client.get_logged_model(model)
    assert str(found.status) == "READY"
    assert {m.key: m.value for m in found.metrics} == {"loss": 0.5, "supported": 0.6}
    kept = {p.name for p in (home.mlflow / "artifacts").rglob("*") if p.is_file()}
    assert {"model.safetensors", "config.json", "episode-1.html"} <= kept
    assert "optimizer.pt" not in kept
    assert tracker.best_model("supported") == (model, 0.6)
    assert tracker.best_model("missing") is None


def test_a_checkpoint_is_logged_once_whatever_its_folder_is_called(tracker: Tracker, tmp_path: Path) -> None:
    run = tracker.open_run("grpo")
    saved = tracker.checkpoint(run, "grpo-3", _checkpoint(tmp_path / "checkpoint-3"), step=3, metrics={"reward": 0.2})
    page = tmp_path / "episode-1.html"
    page.write_text("played", encoding="utf-8")
    final = _checkpoint(tmp_path / "final")
    assert tracker.checkpoint(run, "grpo-3", final, step=3, metrics={"steps": 3}, samples=[page]) == saved
    found = tracker.client.get_logged_model(saved)
    assert {m.key: m.value for m in found.metrics} == {"reward": 0.2, "steps": 3.0}
    assert [f.path for f in tracker.client.list_logged_model_artifacts(saved, "samples")] == ["samples/episode-1.html"]
    save_file({"w": np.zeros(3, np.float32)}, final / "model.safetensors")
    assert tracker.checkpoint(run, "grpo-4", final, step=4) != saved


def test_the_champion_is_the_last_one_promoted_and_each_checkpoint_one_version(
    tracker: Tracker, home: Home, tmp_path: Path
) -> None:
    assert tracker.champion("visor-test") is None
    run = tracker.open_run("champion")
    folders = [_checkpoint(home.asset("sft_checkpoint", name)) for name in ("a", "b")]
    save_file({"w": np.zeros(3, np.float32)}, folders[1] / "model.safetensors")
    models = [tracker.checkpoint(run, "sft", folder) for folder in folders]

    def told(number: int, **tags: str) -> dict[str, object]:
        return {"run_id": run, "model_id": models[number], "tags": tags}

    assert tracker.promote("visor-test", folders[0], **told(0, supported="0.5")) == 1  # type: ignore[arg-type]
    assert tracker.propose("visor-test", folders[1], **told(1)) == 2  # type: ignore[arg-type]
    assert tracker.promote("visor-test", folders[0], **told(0, supported="0.6")) == 1  # type: ignore[arg-type]
    reigning = tracker.champion("visor-test")
    assert reigning is not None
    assert (reigning["version"], reigning["supported"], reigning["folder"]) == ("1", "0.6", str(folders[0]))
    candidate = tracker.champion("visor-test", "candidate")
    assert candidate is not None
    assert candidate["model_id"] == models[1]
    kept = tracker.client.get_model_version("visor-test", "1")
    assert kept.tags["folder"] == "assets/sft_checkpoint/a"
    assert kept.source.startswith("mlflow-artifacts:/")


def test_stopped_is_killed_and_nothing_makes_it_failed(tracker: Tracker) -> None:
    ends = {KeyboardInterrupt(): "KILLED", ValueError(): "FAILED", None: "FINISHED"}
    assert [outcome_of(error) for error in ends] == list(ends.values())
    parent = tracker.open_parent("d" * 32, tags={}, settings={"seed": 3})
    assert tracker.open_parent("d" * 32, tags={}, settings={}) == parent
    child = tracker.open_run("sft", parent=parent)
    with pytest.raises(KeyboardInterrupt), tracker.ending(child):
        raise KeyboardInterrupt
    tracker.close_run(child, "FAILED")
    tracker.close_parent("d" * 32, failed=True)
    assert [tracker.client.get_run(run).info.status for run in (child, parent)] == ["KILLED", "KILLED"]
    assert tracker.client.get_run(parent).data.params == {"seed": "3"}


def test_a_run_whose_process_is_gone_is_killed(tracker: Tracker) -> None:
    ours, gone = tracker.open_run("ours"), tracker.open_run("gone")
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    node, _, started = tracker.client.get_run(gone).data.tags["visor.process"].split(" ")
    tracker.client.set_tag(gone, "visor.process", f"{node} {process.stdout.decode().strip()} {started}")
    elsewhere = tracker.open_run("elsewhere")
    tracker.client.set_tag(elsewhere, "visor.process", f"another-machine 1 {started}")
    assert tracker.reconcile() == [gone]
    states = [tracker.client.get_run(run).info.status for run in (ours, gone, elsewhere)]
    assert states == ["RUNNING", "KILLED", "RUNNING"]


def test_a_lost_store_knows_no_run(tracker: Tracker, home: Home, tmp_path: Path) -> None:
    run = tracker.open_run("sft")
    assert knows_run(home, run)
    assert not knows_run(Home(tmp_path / "other"), run)
    tracker.client.delete_run(run)
    assert not knows_run(home, run)
    assert not tracker.knows(run)


def test_long_values_differ_where_their_ends_do(tracker: Tracker) -> None:
    run = tracker.open_run("sft")
    tracker.parameters(run, {"first": "x" * 900 + "a", "second": "x" * 900 + "b"})
    logged = tracker.client.get_run(run).data.params
    assert logged["first"] != logged["second"]
    assert max(map(len, logged.values())) <= 500


def test_a_table_is_written_whole_each_time(tracker: Tracker) -> None:
    run = tracker.open_run("benchmark")
    for score in (0.0, 1.0):
        tracker.table(run, [{"question": "how many?", "score": score, "f1": float("nan")}], "questions/grpo.json")
    table = mlflow.artifacts.load_dict(f"{tracker.client.get_run(run).info.artifact_uri}/questions/grpo.json")
    assert table == {"columns": ["question", "score", "f1"], "data": [["how many?", 1.0, None]]}
    marked = json.loads(tracker.client.get_run(run).data.tags["mlflow.loggedArtifacts"])
    assert marked == [{"path": "questions/grpo.json", "type": "table"}]


def test_the_database_names_no_folder(tracker: Tracker, home: Home) -> None:
    with closing(sqlite3.connect(home.mlflow / "mlflow.db")) as database:
        dump = "\n".join(database.iterdump())
    assert str(home.root) not in dump
    assert "file:/" not in dump
    assert "mlruns" not in dump


def test_a_folder_without_weights_is_refused(tracker: Tracker, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no safetensors"):
        tracker.checkpoint(tracker.open_run("sft"), "sft-0", tmp_path)


def test_everything_lies_under_home_and_nothing_is_reported(tracker: Tracker, home: Home, tmp_path: Path) -> None:
    run = tracker.open_run("sft")
    tracker.close_run(run, "FAILED")
    assert tracker.client.get_run(run).info.status == "FAILED"
    assert tracking_uri(home).startswith(f"sqlite:///{home.root}")
    assert list(tmp_path.iterdir()) == []
    assert VARIABLE not in os.environ  # MLflow leaves the address there, where it would pass for the user's own
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
