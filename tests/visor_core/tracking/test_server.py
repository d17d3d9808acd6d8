"""Tracking on a server, with a real Postgres and an object store: one setting moves it, and no secret goes along."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines.services import free_port
from tests.visor_core.tracking.servers import KEYS, PASSWORD, mlflow_server, object_store, postgres
from tests.visor_core.trajectories.episodes import episodes
from visor_core.config import Home, TrackingConfig
from visor_core.errors import ConfigError
from visor_core.tracking import VARIABLE, Tracker, configured, knows_run, page_of, run_link
from visor_core.trajectories.traces import flush, log_traces

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inside MLflow 3.17 and botocore
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # connections of MLflow's client, left to the collector
    # A type hint of MLflow's own model flavours (https://github.com/mlflow/mlflow), said as it starts a trace.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
WORKER = """
import sys
from pathlib import Path
from visor_core.config import Home
from visor_core.tracking import Tracker
tracker = Tracker(Home(Path(sys.argv[1])), "visor-nano", "env:MLFLOW_TRACKING_URI")
tracker.metrics(sys.argv[2], {"loss": 0.5}, step=7)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on Postgres and an object store."""
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as held:
        database = held.enter_context(postgres(folder / "database"))
        objects = held.enter_context(object_store(folder))
        yield held.enter_context(mlflow_server(folder, database, objects))


@pytest.fixture
def home(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose runs the environment sends to the server."""
    monkeypatch.setenv(VARIABLE, server)
    return Home(tmp_path / "home")


def test_the_environment_moves_everything_to_the_server(home: Home, server: str, tmp_path: Path) -> None:
    tracker = Tracker(home, "visor-nano", configured(""))
    run = tracker.open_run("sft")
    worker = [sys.executable, "-W", "ignore", "-c", WORKER, str(home.root), run]
    done = subprocess.run(
        worker, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    folder = home.asset("sft_checkpoint", "abc", "final")
    folder.mkdir(parents=True)
    save_file({"w": np.ones(3, np.float32)}, folder / "model.safetensors")
    model = tracker.checkpoint(run, "sft-7", folder, step=7, metrics={"loss": 0.5})
    tracker.table(run, [{"question": "how many?", "correct": True}], "questions/sft.json")
    tracker.promote("visor-nano", folder, run_id=run, model_id=model, tags={})
    traces = log_traces(episodes(1), client=tracker.client, experiment_id=tracker.experiment_id, run_id=run)
    flush()
    tracker.close_run(run, "KILLED")

    again = Tracker(Home(tmp_path / "another home"), "visor-nano", f"file:{_named(tmp_path, server)}")
    found = again.client.get_run(run)
    assert (found.info.status, found.data.metrics["loss"]) == ("KILLED", 0.5)
    assert found.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert [file.path for file in again.client.list_artifacts(run, "questions")] == ["questions/sft.json"]
    assert [file.path for file in again.client.list_logged_model_artifacts(model)] == ["model"]
    tracker.remove_weights(model)
    assert again.client.list_logged_model_artifacts(model, "model") == []
    assert {a.name for a in again.client.get_trace(traces[0]).info.assessments} >= {"correct", "expected_answer"}
    champion = again.champion("visor-nano")
    assert champion is not None
    assert champion["model_id"] == model
    assert knows_run(home, run, server)
    assert not knows_run(home, "0" * 32, server)
    assert run_link(page_of(home, server), run) == f"{server}/#/runs/{run}"
    assert not home.mlflow.exists()


def _named(folder: Path, address: str) -> Path:
    """A file that holds an address."""
    path = folder / "address"
    path.write_text(f"{address}\n", encoding="utf-8")
    return path


def test_no_secret_is_kept_with_a_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_STORE", "postgresql://visor:hunter2@127.0.0.1:1/runs")
    tracker = Tracker(home, "visor-nano", configured(""))
    run = tracker.open_stage(
        home.asset("sft", "a"), "sft", tags={}, settings={"tracking": TrackingConfig(uri="env:TEAM_STORE")}
    )
    data = tracker.client.get_run(run).data
    assert data.params["tracking.uri"] == "env:TEAM_STORE"
    for secret in (PASSWORD, "hunter2", *KEYS.values()):
        assert secret == "us-east-1" or secret not in f"{data.params} {data.tags} {tracker.store!r}"


def test_what_cannot_be_reached_is_one_line_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    monkeypatch.setenv("TEAM_STORE", f"http://visor:hunter2@127.0.0.1:{free_port()}/")
    with pytest.raises(ConfigError, match=r"no MLflow server answers at http://127\.0\.0\.1") as refusal:
        Tracker(home, "visor-nano", "env:TEAM_STORE")
    assert "hunter2" not in str(refusal.value)
    monkeypatch.setenv("TEAM_STORE", "postgresql://visor:hunter2@127.0.0.1:1/runs")
    with pytest.raises(ConfigError, match=r"TEAM_STORE is a database: .*tracking\.artifacts") as refusal:
        Tracker(home, "visor-nano", "env:TEAM_STORE")
    assert "hunter2" not in str(refusal.value)
    with pytest.raises(ValueError, match="never as itself"):
        TrackingConfig(uri="http://visor:hunter2@server")
