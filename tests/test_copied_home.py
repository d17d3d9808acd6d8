"""A copied or moved VISOR_HOME: its runs, files and champion are its own, and the original stays as it was."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from safetensors.numpy import save_file

from pipelines.cli import main
from visor_core.config import Home
from visor_core.errors import ConfigError
from visor_core.tracking import Tracker, tracking_uri

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20


def _run(home: Home, checkpoint: Path) -> str:
    """A run with a logged and registered model; returns its id."""
    tracker = Tracker(home, "visor-nano")
    run = tracker.open_run("sft")
    model = tracker.checkpoint(run, "sft", checkpoint)
    tracker.promote("visor-nano", checkpoint, run_id=run, model_id=model, tags={})
    tracker.close_run(run)
    return run


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _dump(home: Home) -> str:
    with closing(sqlite3.connect(home.mlflow / "mlflow.db")) as database:
        return "\n".join(database.iterdump())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("a place") / "home 1")
    checkpoint = home.asset("sft_checkpoint")
    checkpoint.mkdir(parents=True)
    save_file({"w": np.ones(3, np.float32)}, checkpoint / "model.safetensors")
    _run(home, checkpoint)
    return home


def test_a_copy_is_a_home_of_its_own(original: Home, tmp_path: Path) -> None:
    copy = Home(Path(shutil.copytree(original.root, tmp_path / "it's #2")))
    before, inside = _files(original.root), _files(copy.root)
    tracker = Tracker(copy, "visor-nano")
    reigning = tracker.champion("visor-nano")
    assert reigning is not None
    assert Path(reigning["folder"]) == copy.asset("sft_checkpoint")
    held = tracker.client.list_logged_model_artifacts(reigning["model_id"], "model")
    assert [file.path for file in held] == ["model/model.safetensors"]
    _run(copy, copy.asset("sft_checkpoint"))
    assert {name for name in _files(copy.root) - inside if name.startswith("mlflow/artifacts/")}
    assert _files(original.root) == before
    assert str(original.root) not in _dump(copy)


def test_what_an_older_version_stored_is_refused_and_adopted(
    original: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions noted folders down: as addresses of artifacts, and as the champion's."""
    home = Home(Path(shutil.copytree(original.root, tmp_path / "old")))
    former = Home(tmp_path / "the former place")
    with closing(sqlite3.connect(home.mlflow / "mlflow.db")) as database, database:
        place = f"{former.mlflow.as_uri()}/artifacts"
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri"),
                              ("logged_models", "artifact_location"), ("model_versions", "source"),
                              ("model_versions", "storage_location")):  # fmt: skip
            changed = f"UPDATE {table} SET {column} = replace({column}, 'mlflow-artifacts:', ?)"
            database.execute(changed, (place,))
        database.execute("UPDATE experiments SET artifact_location = ?", (place,))
        database.execute(
            "UPDATE model_version_tags SET value = ? WHERE key = 'folder'", (str(former.asset("sft_checkpoint")),)
        )
    with pytest.raises(ConfigError, match="made by an older version, copied or moved") as refusal:
        Tracker(home, "visor-nano")
    assert f"`visor --home {home.root} adopt`" in str(refusal.value)
    monkeypatch.setattr(sys, "argv", ["visor", "--home", str(home.root), "adopt"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert str(former.root) in capsys.readouterr().out
    assert str(former.root) not in _dump(home)
    assert former.root.as_uri() not in _dump(home)
    reigning = Tracker(home, "visor-nano").champion("visor-nano")
    assert reigning is not None
    assert Path(reigning["folder"]) == home.asset("sft_checkpoint")
    run = _run(home, home.asset("sft_checkpoint"))
    assert MlflowClient(tracking_uri(home)).get_run(run).info.artifact_uri.startswith("mlflow-artifacts:/")
    assert not former.root.exists()
