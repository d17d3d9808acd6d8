"""Stages in a process of their own: Pipes, MLflow, lineage, user errors, and ends that nobody asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from assets_defs.machinery.builds import read_record
from assets_defs.machinery.progress import read_metrics, read_progress
from assets_defs.machinery.relogging import is_logged
from assets_defs.machinery.stage import Node
from pipelines.choice import Choice
from tests.pipelines.materializing import materialize
from visor_core.config import Home
from visor_core.errors import PolicyError
from visor_core.tracking import RUN_FILE, Tracker, logged_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inside MLflow 3.17 and alembic 1.20
]
ROOT = Path(__file__).resolve().parents[2]
VISOR = [sys.executable, "-W", "ignore", "-c", "from pipelines.cli import main; main()"]
TINY = {
    "threads": 1,
    "nano.train_corpora": 1,
    "nano.development_corpora": 1,
    "nano.companies": 3,
    "nano.topics": 4,
    "nano.train_questions": 4,
    "nano.development_questions": 4,
    "nano.vision_steps": 8,
    "nano.alignment_steps": 8,
    "nano.batch_size": 8,
    "tracking.system_metrics_seconds": 0.3,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a base model."""
    home = Home(tmp_path_factory.mktemp("home"))
    summary = materialize(Choice("nano", TINY), home, ["base_model"])
    assert summary.figures("base_model")["alignment_loss"] > 0  # type: ignore[operator]
    return home


def test_a_worker_reports_back_and_leaves_its_lineage(trained: Home) -> None:
    home = trained
    record = read_record(home, Node("base_model"))
    build = record.build_folder(home)
    assert record.folder(home) == build / "final"
    assert {"config.json", "model.safetensors"} <= {p.name for p in (build / "final").iterdir()}
    lineage = json.loads((build / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["upstream"] == {"nano_corpus": read_record(home, Node("nano_corpus")).data_version}
    assert [row["step"] for row in read_metrics(build)] == list(range(1, 17))
    assert read_progress(build)[:2] == (16, 16)

    tracker = Tracker(home, "visor-nano")
    run = tracker.client.get_run((build / RUN_FILE).read_text(encoding="utf-8"))
    assert run.info.status == "FINISHED"
    assert run.data.tags["fingerprint"] == record.fingerprint
    assert {"vision/loss", "system/cpu_utilization_percentage"} <= set(run.data.metrics)
    assert run.info.run_name == f"base_model {record.fingerprint[:8]}"
    assert (run.data.params["nano.vision_steps"], run.data.params["seed"]) == ("8", "0")
    assert len(run.data.tags["mlflow.source.git.commit"]) == 40
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("nano_corpus", lineage["upstream"]["nano_corpus"])
    parent = tracker.client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["dagster_run_id"] == run.data.tags["dagster_run_id"]
    assert parent.data.params["grpo.steps"] == str(Choice("nano", TINY).resolve().grpo.steps)
    assert not [value for value in (*run.data.tags.values(), *run.data.params.values()) if str(home.root) in value]
    assert (build / "curves.png").is_file()
    assert "curves.png" in [artifact.path for artifact in tracker.client.list_artifacts(run.info.run_id)]
    model = tracker.client.get_logged_model(logged_model(build))
    assert str(model.status) == "READY"
    assert model.source_run_id == run.info.run_id


def test_a_users_error_in_a_worker_is_the_same_error_here(tmp_path: Path) -> None:
    choice = Choice("smolvlm", {"model.name": str(tmp_path / "nowhere")})
    with pytest.raises(PolicyError, match=r"no checkpoint at .*nowhere"):
        materialize(choice, Home(tmp_path / "home"), ["base_model"])


def test_a_worker_ends_with_the_process_that_ordered_it() -> None:
    child = (
        "import sys, time; from pipelines.tied import die_with; die_with(int(sys.argv[1]));"
        "print('up', flush=True); time.sleep(120)"
    )
    parent = (
        f"import os, subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())],"
        "stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid, flush=True); time.sleep(120)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


def test_a_lost_store_of_runs_is_logged_again_from_the_builds(trained: Home, tmp_path: Path) -> None:
    """The same figures, curves and model as before, at another run; here in a home that was copied as well."""
    home = Home(Path(shutil.copytree(trained.root, tmp_path / "home")))
    record = read_record(home, Node("base_model"))
    build = record.build_folder(home)

    def told() -> tuple[str, dict[str, float], dict[str, float], dict[str, str], list[str]]:
        client = Tracker(home, "visor-nano").client
        run = client.get_run((build / RUN_FILE).read_text(encoding="utf-8"))
        model = client.get_logged_model(logged_model(build))
        kept = [file.path for file in client.list_logged_model_artifacts(model.model_id, "model")]
        figures = {key: value for key, value in run.data.metrics.items() if not key.startswith("system/")}
        return run.info.run_id, figures, {m.key: m.value for m in model.metrics}, run.data.params, sorted(kept)

    before = told()
    assert is_logged(home, record)
    shutil.rmtree(home.mlflow)
    assert not is_logged(home, record)
    again = materialize(Choice("nano", TINY), home, ["base_model"])
    assert {r.node.stage: r.state for r in again.results}["base_model"] == "reused"
    after = told()
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    run = Tracker(home, "visor-nano").client.get_run(after[0])
    assert run.info.status == "FINISHED"
    made = datetime.fromisoformat(record.created).timestamp()
    assert run.info.end_time == made * 1000
    assert {r.state for r in materialize(Choice("nano", TINY), home, ["base_model"]).results} == {"unchanged"}
