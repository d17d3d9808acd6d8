"""Sample episodes of a training: in the build folder as pictures and pages, and in the MLflow run."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from assets_defs.machinery.pictures import SAMPLES, episodes
from pipelines.workers.samples import draw_episodes, log_episodes
from pipelines.workers.session import Session
from tests.visor_core.trajectories.episodes import episodes as played
from visor_core.config import Home, load_profile
from visor_core.policies.base import ImageRef
from visor_core.tracking import Tracker

BUILD = Path("assets", "sft_checkpoint", "build")
PROFILE = Path(__file__).parents[2] / "pipelines" / "profiles" / "nano.yaml"


def _white(ref: ImageRef) -> Image.Image:
    return Image.new("RGB", (ref.width, ref.height), "white")


def _order(tmp_path: Path) -> dict[str, object]:
    return {
        "home": str(tmp_path), "folder": str(tmp_path / BUILD), "stage": "sft_checkpoint",
        "tracking": {"experiment": "visor"},
        "profile": load_profile(PROFILE).model_dump(mode="json"), "inputs": {},
    }  # fmt: skip


def test_three_episodes_are_kept_as_pictures_and_pages(tmp_path: Path) -> None:
    log_episodes(Session(json.loads(json.dumps(_order(tmp_path))), None), played(5), _white)
    names = sorted(path.name for path in (tmp_path / BUILD / SAMPLES).iterdir())
    assert names == [f"episode-{n}.{kind}" for n in (1, 2, 3) for kind in ("html", "png")]
    assert list(episodes(tmp_path / BUILD)) == ["sample_1", "sample_2", "sample_3"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20
def test_they_are_artifacts_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(Home(tmp_path), "visor")
    run_id = tracker.open_run("sft_checkpoint")
    monkeypatch.setitem(os.environ, "MLFLOW_RUN_ID", run_id)
    session = Session(json.loads(json.dumps(_order(tmp_path))), _Pipes())  # type: ignore[arg-type]
    log_episodes(session, played(3), _white)
    kept = [artifact.path for artifact in tracker.client.list_artifacts(run_id, SAMPLES)]
    assert sorted(kept) == [f"{SAMPLES}/episode-{n}.{kind}" for n in (1, 2, 3) for kind in ("html", "png")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20
def test_a_checkpoint_keeps_what_it_is_made_from_and_what_it_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker(Home(tmp_path), "visor")
    monkeypatch.setitem(os.environ, "MLFLOW_RUN_ID", tracker.open_run("grpo_checkpoint"))
    inputs = {"sft_checkpoint": str(tmp_path / "assets" / "sft_checkpoint" / "abc" / "final"), "index_tag": "index-1"}
    session = Session(_order(tmp_path) | {"stage": "grpo_checkpoint", "inputs": inputs}, _Pipes())  # type: ignore[arg-type]
    checkpoint = tmp_path / BUILD / "checkpoint-9"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    files = draw_episodes(tmp_path / BUILD / SAMPLES / "step-9", played(3), _white)
    model = tracker.client.get_logged_model(session.on_checkpoint(checkpoint, 9, {"reward": 0.5}, files))
    lineage = {"input.sft_checkpoint": "assets/sft_checkpoint/abc/final", "input.index_tag": "index-1", "seed": "0"}
    assert lineage.items() <= model.tags.items()
    assert {m.key: m.value for m in model.metrics} == {"reward": 0.5}
    held = [tracker.client.list_logged_model_artifacts(model.model_id, name) for name in ("model", "samples")]
    kept = {artifact.path for folder in held for artifact in folder}
    played_files = {f"samples/episode-{n}.{kind}" for n in (1, 2, 3) for kind in ("html", "png")}
    assert kept == {"model/model.safetensors"} | played_files


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20
def test_mlflow_keeps_the_weights_of_checkpoints_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that training removed leaves its figures there, also if the worker began anew in between."""
    tracker = Tracker(Home(tmp_path), "visor")
    monkeypatch.setitem(os.environ, "MLFLOW_RUN_ID", tracker.open_run("grpo_checkpoint"))
    models = []
    for step in (1, 2, 3):
        session = Session(_order(tmp_path), _Pipes())  # type: ignore[arg-type]
        folder = tmp_path / BUILD / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(f"weights {step}".encode())
        (folder / "config.json").write_text("{}")
        models.append(session.on_checkpoint(folder, step, {"reward": step / 10}))
        if step > 1:
            shutil.rmtree(tmp_path / BUILD / f"checkpoint-{step - 1}")
    held = [{file.path for file in tracker.client.list_logged_model_artifacts(model, "model")} for model in models]
    both = {"model/config.json", "model/model.safetensors"}
    assert held == [{"model/config.json"}, both, both]
    first = tracker.client.get_logged_model(models[0])
    assert [(m.key, m.value) for m in first.metrics] == [("reward", 0.1)]
    assert first.tags["weights"] == "removed with the checkpoint"


class _Pipes:
    """As much of Dagster Pipes as a checkpoint needs."""

    log = logging.getLogger("test_samples")
