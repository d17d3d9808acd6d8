"""MLflow: runs, every checkpoint as a logged model, the registry alias `champion`; one SQLite file under VISOR_HOME.

A thin face over `MlflowClient` so that a run can be continued by id from another process (Dagster opens it, the
training process writes to it). It logs what it is given and decides nothing.
"""

from __future__ import annotations

import logging
import os
import shlex
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from visor_core.addresses import pasteable
from visor_core.config import Home
from visor_core.errors import ConfigError, DataError

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "TOKENIZERS_PARALLELISM": "false",
    "ALEMBIC_QUIET": "1",
}
"""Switches of every package that would otherwise report usage; set at the edge of each process."""

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
RUN_FILE = "mlflow_run.txt"
"""In a stage's folder: the id of its run."""
MODEL_FILE = "mlflow_model.txt"
"""In a stage's folder: the id of the logged model of its checkpoint."""


def silence() -> None:
    """Turn off usage reporting of MLflow, vLLM, Ray, Dagster and the hub in this process and its children."""
    os.environ.update(QUIET)


def tracking_uri(home: Home) -> str:
    """The SQLite address MLflow's client and UI share."""
    return f"sqlite:///{pasteable(home.mlflow) / 'mlflow.db'}"


def adopt(home: Home) -> Path | None:
    """Make the database of a copied or moved home name that home's own folders; returns the folder it named before.

    MLflow stores absolute paths and addresses in a dozen columns: whatever begins with the former home is put right,
    in one transaction. Artifacts are part of the home and came with it.

    Raises:
        DataError: if there is no database, or it is damaged.
    """
    path = home.mlflow / "mlflow.db"
    if not path.is_file():
        raise DataError(f"{home.root} keeps no runs yet: there is nothing to adopt")
    try:
        with closing(sqlite3.connect(path)) as database, database:
            locations = [row[0] for row in database.execute("SELECT artifact_location FROM experiments")]
            former = next((p.parents[1] for p in map(_local_path, locations) if p and not _is_own(home, p)), None)
            if former is None:
                return None
            for old, new in ((former.as_uri(), home.root.as_uri()), (str(former), str(home.root))):
                for table, column in _text_columns(database):
                    database.execute(
                        f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?)'
                        f' WHERE "{column}" = ? OR substr("{column}", 1, ?) = ?',
                        (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                    )
    except sqlite3.Error as error:
        raise DataError(f"{path} cannot be read as MLflow's database: {error}") from error
    return former


def _text_columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """(table, column) of everything that holds text."""
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [
        (table, row[1])
        for table in tables
        for row in database.execute(f'PRAGMA table_info("{table}")')
        if row[2].upper().startswith(("VARCHAR", "TEXT"))
    ]


def _local_path(location: str) -> Path | None:
    """The folder of a `file://` address; None for any other."""
    return Path(unquote(urlsplit(location).path)) if location.startswith("file://") else None


def _is_own(home: Home, artifacts: Path) -> bool:
    own = home.mlflow / "artifacts"
    return artifacts == own or (artifacts.exists() and own.exists() and artifacts.samefile(own))


def _refuse_foreign(home: Home, location: str) -> None:
    """Stop before files of new runs are written into the home that this one was copied from.

    Raises:
        ConfigError: naming both folders and the command that puts it right.
    """
    artifacts = _local_path(location)
    if artifacts and not _is_own(home, artifacts):
        raise ConfigError(
            f"{home.root} was copied or moved: its runs keep their files in {artifacts.parents[1]}; make it stand on"
            f" its own with `visor --home {shlex.quote(str(home.root))} adopt`"
        )


def meaningful(values: Mapping[str, Any]) -> dict[str, Any]:
    """A step's scalars without those whose value says nothing.

    The `loss` of reinforcement learning is a surrogate that has the right gradient and no meaning of its own: with
    normalised advantages it is about 0 however well the policy does, and with an imitation term it falls below 0.
    """
    reinforced = "reward" in values or "skipped_groups" in values
    return {name: value for name, value in values.items() if not (reinforced and name == "loss")}


def logged_model(folder: Path) -> str:
    """The MLflow model id that a build's checkpoint was logged under; empty where it was not."""
    path = folder / MODEL_FILE
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


class Tracker:
    """Writes one project's runs and models. Building one imports MLflow and creates the database if need be.

    Raises:
        ConfigError: if the home is a copy whose database still names the original (see `adopt`).
    """

    def __init__(self, home: Home, experiment: str) -> None:
        silence()
        logging.getLogger("alembic").setLevel(logging.ERROR)
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        import mlflow
        from mlflow import MlflowClient

        home.mlflow.mkdir(parents=True, exist_ok=True)
        # Registering a model asks the process-wide address, whatever the client was built with; without it MLflow
        # makes a database in the working folder.
        mlflow.set_tracking_uri(tracking_uri(home))
        self.client: Any = MlflowClient(tracking_uri=tracking_uri(home), registry_uri=tracking_uri(home))
        found = self.client.get_experiment_by_name(experiment)
        if found:
            _refuse_foreign(home, found.artifact_location)
        self.experiment_id: str = (
            found.experiment_id
            if found
            else self.client.create_experiment(experiment, artifact_location=(home.mlflow / "artifacts").as_uri())
        )

    def open_run(self, name: str, *, tags: Mapping[str, str] | None = None, run_id: str = "") -> str:
        """Start a run, or continue `run_id` if the database knows it; returns the id."""
        from mlflow.exceptions import MlflowException

        if run_id:
            try:
                self.client.get_run(run_id)
            except MlflowException:
                run_id = ""  # the database was removed since: the run starts anew
        if run_id:
            self.client.update_run(run_id, status="RUNNING")
            return run_id
        run = self.client.create_run(self.experiment_id, run_name=name, tags=dict(tags or {}))
        return str(run.info.run_id)

    def open_stage(self, folder: Path, name: str, *, tags: Mapping[str, str], settings: Mapping[str, Any]) -> str:
        """The run of a training stage: the one it began with, if it was interrupted in `folder`; returns the id.

        Args:
            settings: logged as parameters, sections of a profile by dotted key.
        """
        path = folder / RUN_FILE
        known = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        run_id = self.open_run(name, tags=tags, run_id=known)
        self.parameters(run_id, _flat(settings))
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(run_id, encoding="utf-8")
        return run_id

    def close_run(self, run_id: str, *, failed: bool = False) -> None:
        """Mark a run as finished or failed."""
        self.client.set_terminated(run_id, status="FAILED" if failed else "FINISHED")

    def parameters(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Log flat parameters; values already logged under the same key are kept."""
        from mlflow.entities import Param

        known = self.client.get_run(run_id).data.params
        fresh = [Param(k, str(v)[:500]) for k, v in values.items() if k not in known]
        for start in range(0, len(fresh), 100):
            self.client.log_batch(run_id, params=fresh[start : start + 100])

    def metrics(self, run_id: str, values: Mapping[str, Any], step: int = 0) -> None:
        """Log scalars of one step; what is no finite number is left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        scalars = [Metric(k, float(v), now, step) for k, v in values.items() if _is_scalar(v)]
        if scalars:
            self.client.log_batch(run_id, metrics=scalars)

    def training_step(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Log what a trainer reports of a step: `step` counts, a `phase` stands before the names of its scalars."""
        phase = str(values.get("phase", ""))
        prefix = f"{phase}/" if phase else ""
        scalars = {f"{prefix}{k}": v for k, v in meaningful(values).items() if k not in ("step", "total", "phase")}
        self.metrics(run_id, scalars, int(values.get("step", 0)))

    def artifacts(self, run_id: str, files: Iterable[Path], folder: str = "") -> None:
        """Log files of a run."""
        for path in files:
            self.client.log_artifact(run_id, str(path), folder or None)

    def checkpoint(
        self,
        run_id: str,
        name: str,
        folder: Path,
        *,
        step: int = 0,
        metrics: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        samples: Iterable[Path] = (),
    ) -> str:
        """Log a checkpoint folder as a logged model with its metrics; returns the model id.

        Only model files are copied; optimizer and trainer state stay where they are. A failure in between leaves the
        logged model marked FAILED.

        Args:
            samples: what it played, as files to keep with it.

        Raises:
            DataError: if the folder holds no model.
        """
        files = sorted({p for pattern in MODEL_FILES for p in folder.glob(pattern)})
        if not any(p.suffix == ".safetensors" for p in files):
            raise DataError(f"{folder} holds no safetensors file and cannot be logged as a model")
        model = self.client.create_logged_model(
            self.experiment_id,
            name=name,
            source_run_id=run_id,
            tags={"step": str(step), **(tags or {})},
            params={"step": str(step), "folder": folder.name},
        )
        done = False
        try:
            for path in (*files, *samples):
                self.client.log_model_artifact(model.model_id, str(path))
            for key, value in (metrics or {}).items():
                if _is_scalar(value):
                    self.client.log_metric(run_id, key, float(value), step=step, model_id=model.model_id)
            done = True
        finally:
            self.client.finalize_logged_model(model.model_id, "READY" if done else "FAILED")
        return str(model.model_id)

    def remove_weights(self, model_id: str) -> None:
        """Remove what is large of a logged model whose checkpoint is gone; its metrics and samples stay."""
        from mlflow.utils.file_utils import local_file_uri_to_path

        folder = Path(local_file_uri_to_path(self.client.get_logged_model(model_id).artifact_location))
        for path in folder.glob("*.safetensors"):
            path.unlink()
        self.client.set_logged_model_tags(model_id, {"weights": "removed with the checkpoint"})

    def evaluated(self, run_id: str, model_id: str, metrics: Mapping[str, Any], *, dataset: str, digest: str) -> None:
        """Attach benchmark figures to a logged model, naming the question set and its content hash."""
        for key, value in metrics.items():
            if _is_scalar(value):
                self.client.log_metric(
                    run_id, key, float(value), model_id=model_id, dataset_name=dataset, dataset_digest=digest
                )

    def best_model(self, metric: str) -> tuple[str, float] | None:
        """(model id, value) of the logged model with the highest value of a metric; None without one."""
        found = self.client.search_logged_models(
            [self.experiment_id], order_by=[{"field_name": f"metrics.{metric}", "ascending": False}], max_results=1
        )
        for model in found:
            values = [m.value for m in model.metrics or [] if m.key == metric]
            if values:
                return str(model.model_id), float(values[-1])
        return None

    def promote(self, name: str, folder: Path, *, run_id: str, model_id: str, tags: Mapping[str, str]) -> int:
        """Register a checkpoint folder as a new version of `name` and point the alias `champion` at it."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_registered_model(name)
        except MlflowException:
            self.client.create_registered_model(name)
        source = self.client.get_logged_model(model_id).artifact_location
        version = self.client.create_model_version(
            name, source=source, run_id=run_id, tags={"folder": str(folder), **tags}, model_id=model_id
        )
        self.client.set_registered_model_alias(name, "champion", version.version)
        return int(version.version)

    def champion(self, name: str) -> dict[str, str] | None:
        """Version, folder and tags of the champion, or None."""
        from mlflow.exceptions import MlflowException

        try:
            version = self.client.get_model_version_by_alias(name, "champion")
        except MlflowException:
            return None
        return {"version": str(version.version), **version.tags}


def _is_scalar(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) != float("inf")
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        plain = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        if isinstance(plain, dict):
            flat |= _flat(plain, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = plain
    return flat
