"""What MLflow's own store says: the runs of models under an alias, and the Dagster run behind an MLflow run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from visor_core.config import Home
from visor_core.errors import DataError
from visor_core.lineage.registry import aliased, dagster_run_of
from visor_core.tracking import Tracker, tracking_uri

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside MLflow 3.17 and alembic 1.20


def test_models_under_an_alias_and_the_run_behind_a_run(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    save_file({"w": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    tracker = Tracker(home, "visor-nano")
    runs = [tracker.open_run(name, tags={"dagster_run_id": f"dagster-{name}"}) for name in ("first", "second")]
    models = [tracker.checkpoint(run, "sft", tmp_path) for run in runs]
    for run, model in zip(runs, models, strict=True):
        tracker.promote("visor-nano", tmp_path, run_id=run, model_id=model, tags={})
    uri = tracking_uri(home)
    named = aliased(uri)
    assert runs[1] in named
    assert not named & {runs[0], models[0]}
    assert dagster_run_of(uri, runs[0]) == "dagster-first"
    assert dagster_run_of(uri, "0" * 32) == ""
    assert dagster_run_of(uri, "sft_checkpoint") == ""


def test_a_store_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(DataError, match="does not say which models have an alias"):
        aliased("http://127.0.0.1:9")
