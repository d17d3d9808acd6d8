"""A copied VISOR_HOME leaves the original as it was, and can be made to stand on its own."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines.cli import main
from visor_core.config import Home
from visor_core.errors import ConfigError, VisorError
from visor_core.tracking import Tracker

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20


def _run(home: Home, checkpoint: Path) -> str:
    """A run with a logged and registered model; returns its id."""
    tracker = Tracker(home, "visor")
    run = tracker.open_run("sft")
    model = tracker.checkpoint(run, "sft", checkpoint)
    tracker.promote("visor-nano", checkpoint, run_id=run, model_id=model, tags={})
    tracker.close_run(run)
    return run


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("a place") / "home 1")
    checkpoint = home.asset("sft_checkpoint")
    checkpoint.mkdir(parents=True)
    save_file({"w": np.ones(3, np.float32)}, checkpoint / "model.safetensors")
    _run(home, checkpoint)
    return home


def test_a_copy_never_writes_into_the_original(original: Home, tmp_path: Path) -> None:
    copy = Home(Path(shutil.copytree(original.root, tmp_path / "copy")))
    before = _files(original.root)
    with suppress(VisorError):
        _run(copy, copy.asset("sft_checkpoint"))
    assert _files(original.root) == before
    with pytest.raises(ConfigError, match="was copied or moved") as refusal:
        Tracker(copy, "visor")
    assert f"`visor --home {copy.root} adopt`" in str(refusal.value)
    Tracker(original, "visor")


def test_an_adopted_copy_stands_on_its_own(
    original: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Home(Path(shutil.copytree(original.root, tmp_path / "it's #2")))
    before, inside = _files(original.root), _files(copy.root)
    monkeypatch.setattr(sys, "argv", ["visor", "--home", str(copy.root), "adopt"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert str(original.root) in capsys.readouterr().out
    tracker = Tracker(copy, "visor")
    reigning = tracker.champion("visor-nano")
    assert reigning is not None
    assert Path(reigning["folder"]) == copy.asset("sft_checkpoint")
    run = _run(copy, copy.asset("sft_checkpoint"))
    artifacts = copy.mlflow / "artifacts"
    assert {name for name in _files(copy.root) - inside if name.startswith("mlflow/artifacts/")}
    assert tracker.client.get_run(run).info.artifact_uri.startswith(artifacts.as_uri())
    assert _files(original.root) == before
    with closing(sqlite3.connect(copy.mlflow / "mlflow.db")) as database:
        dump = "\n".join(database.iterdump())
    assert str(original.root) not in dump
    assert original.root.as_uri() not in dump
