"""Sample episodes of a training: in the build folder as pictures and pages, and in the MLflow run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from assets_defs.pictures import SAMPLES, episodes
from pipelines.workers.samples import log_episodes
from pipelines.workers.session import Session
from tests.visor_core.trajectories.episodes import episodes as played
from visor_core.config import Home, load_profile
from visor_core.policies.base import ImageRef
from visor_core.tracking import Tracker

PROFILE = Path(__file__).parents[2] / "pipelines" / "profiles" / "nano.yaml"


def _white(ref: ImageRef) -> Image.Image:
    return Image.new("RGB", (ref.width, ref.height), "white")


def _order(tmp_path: Path) -> dict[str, object]:
    return {
        "home": str(tmp_path), "folder": str(tmp_path / "build"), "stage": "sft_checkpoint", "experiment": "visor",
        "profile": load_profile(PROFILE).model_dump(mode="json"), "inputs": {},
    }  # fmt: skip


def test_three_episodes_are_kept_as_pictures_and_pages(tmp_path: Path) -> None:
    log_episodes(Session(json.loads(json.dumps(_order(tmp_path))), None), played(5), _white)
    names = sorted(path.name for path in (tmp_path / "build" / SAMPLES).iterdir())
    assert names == [f"episode-{n}.{kind}" for n in (1, 2, 3) for kind in ("html", "png")]
    assert list(episodes(tmp_path / "build")) == ["sample_1", "sample_2", "sample_3"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20
def test_they_are_artifacts_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(Home(tmp_path), "visor")
    run_id = tracker.open_run("sft_checkpoint")
    monkeypatch.setitem(os.environ, "MLFLOW_RUN_ID", run_id)
    session = Session(json.loads(json.dumps(_order(tmp_path))), object())  # type: ignore[arg-type]
    log_episodes(session, played(3), _white)
    kept = [artifact.path for artifact in tracker.client.list_artifacts(run_id, SAMPLES)]
    assert sorted(kept) == [f"{SAMPLES}/episode-{n}.{kind}" for n in (1, 2, 3) for kind in ("html", "png")]
