"""MLflow under VISOR_HOME: runs continued by id, checkpoints as logged models, the champion alias."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from visor_core.config import Home, SFTConfig
from visor_core.errors import DataError
from visor_core.tracking import QUIET, RUN_FILE, Tracker, tracking_uri

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def tracker(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tracker:
    for name in QUIET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Tracker(home, "tests")


def _checkpoint(folder: Path) -> Path:
    folder.mkdir()
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
    tracker.close_run(run, failed=True)
    assert begin() == run
    assert (tmp_path / "sft" / RUN_FILE).read_text(encoding="utf-8") == run
    assert tracker.client.get_run(run).data.params["sft.steps"] == "3"
    assert tracker.client.get_run(run).data.tags["stage"] == "sft"


def test_a_training_step_is_logged_under_its_phase(tracker: Tracker) -> None:
    run = tracker.open_run("base")
    tracker.training_step(run, {"step": 4, "total": 9, "phase": "vision", "loss": 2.0})
    tracker.training_step(run, {"step": 5, "loss": 1.0})
    tracker.training_step(run, {"step": 6, "loss": -2.8, "reward": 0.9})
    history = {name: tracker.client.get_metric_history(run, name) for name in ("vision/loss", "loss")}
    assert {name: [(m.step, m.value) for m in found] for name, found in history.items()} == {
        "vision/loss": [(4, 2.0)],
        "loss": [(5, 1.0)],
    }
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


def test_the_champion_is_the_last_one_promoted(tracker: Tracker, tmp_path: Path) -> None:
    assert tracker.champion("visor-test") is None
    run = tracker.open_run("champion")
    folder = _checkpoint(tmp_path / "final")
    model = tracker.checkpoint(run, "grpo-1", folder)
    assert tracker.promote("visor-test", folder, run_id=run, model_id=model, tags={"supported": "0.5"}) == 1
    assert tracker.promote("visor-test", folder, run_id=run, model_id=model, tags={"supported": "0.7"}) == 2
    assert tracker.champion("visor-test") == {"version": "2", "folder": str(folder), "supported": "0.7"}


def test_a_folder_without_weights_is_refused(tracker: Tracker, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no safetensors"):
        tracker.checkpoint(tracker.open_run("sft"), "sft-0", tmp_path)


def test_everything_lies_under_home_and_nothing_is_reported(tracker: Tracker, home: Home, tmp_path: Path) -> None:
    run = tracker.open_run("sft")
    tracker.close_run(run, failed=True)
    assert tracker.client.get_run(run).info.status == "FAILED"
    assert tracking_uri(home).startswith(f"sqlite:///{home.root}")
    assert list(tmp_path.iterdir()) == []
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
