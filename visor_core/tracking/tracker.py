"""A project's runs, its checkpoints as logged models, and the registry of those in use.

A thin face over `MlflowClient` so that a run can be continued by id from another process (Dagster opens it, the
training process writes to it). It logs what it is given and decides nothing.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from visor_core.config import Home
from visor_core.tracking.checkpoints import MODEL_FOLDER, WEIGHTS, model_files, stage_model
from visor_core.tracking.runs import Runs
from visor_core.tracking.values import is_scalar

MODEL_FILE = "mlflow_model.txt"
"""In a stage's folder: the id of the logged model of its checkpoint."""
LOGGED = "logged_checkpoints.json"
"""In a stage's folder: which of the checkpoints saved on the way are logged models with weights."""
CHAMPION, CANDIDATE = "champion", "candidate"


class Tracker(Runs):
    """Runs, logged models and registered models of one experiment.

    Raises:
        ConfigError: as `Runs`.
    """

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

        A checkpoint that this run has logged already, weight for weight, is that model: it gets what is new. A failure
        in between leaves the logged model marked FAILED.

        Args:
            samples: what it played, as files to keep with it.

        Raises:
            DataError: if the folder holds no model.
        """
        digest = _weights_digest(folder)
        known = self._logged(run_id, digest)
        if known:
            self._metrics_of(run_id, known, metrics or {}, step)
            for path in samples:
                self.client.log_model_artifact(known, str(path), "samples")
            return known
        model = self.client.create_logged_model(
            self.experiment_id,
            name=name,
            source_run_id=run_id,
            tags={"step": str(step), "weights": digest, **(tags or {})},
            params={"step": str(step), "folder": folder.name},
        )
        done = False
        try:
            with tempfile.TemporaryDirectory() as staged:
                stage_model(folder, Path(staged), samples)
                self.client.log_model_artifacts(model.model_id, staged)
            self._metrics_of(run_id, model.model_id, metrics or {}, step)
            done = True
        finally:
            self.client.finalize_logged_model(model.model_id, "READY" if done else "FAILED")
        return str(model.model_id)

    def knows_model(self, model_id: str) -> bool:
        """Whether the store has a logged model."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(model_id) and self.client.get_logged_model(model_id) is not None
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _logged(self, run_id: str, digest: str) -> str:
        """The model that a run has logged with these weights; empty without one."""
        found = self.client.search_logged_models(
            [self.experiment_id], filter_string=f"tags.weights = '{digest}' AND source_run_id = '{run_id}'"
        )
        return next((str(model.model_id) for model in found if str(model.status) == "READY"), "")

    def _metrics_of(self, run_id: str, model_id: str, metrics: Mapping[str, Any], step: int = 0, **data: str) -> None:
        """Metrics of a logged model, in one request; `data` is the dataset they were measured on."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = [
            Metric(key, float(value), now, step, model_id=model_id, run_id=run_id, **data)
            for key, value in metrics.items()
            if is_scalar(value)
        ]
        if found:
            self.client.log_batch(run_id, metrics=found)

    def remove_weights(self, model_id: str) -> None:
        """Remove what is large of a logged model whose checkpoint is gone; its metrics and samples stay."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        for file in self.client.list_logged_model_artifacts(model_id, MODEL_FOLDER):
            if Path(file.path).match(WEIGHTS):
                place = self.client.get_logged_model(model_id).artifact_location
                get_artifact_repository(place, tracking_uri=self.store.address).delete_artifacts(file.path)
        self.client.set_logged_model_tags(model_id, {"weights": "removed with the checkpoint"})

    def evaluated(self, run_id: str, model_id: str, metrics: Mapping[str, Any], *, dataset: str, digest: str) -> None:
        """Attach benchmark figures to a logged model, naming the question set and its content hash."""
        self._metrics_of(run_id, model_id, metrics, dataset_name=dataset, dataset_digest=digest)

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

    def propose(self, name: str, folder: Path, *, run_id: str, model_id: str, tags: Mapping[str, str]) -> int:
        """Register a checkpoint as a version of `name`, once, and point the alias `candidate` at it."""
        version = self._version(name, folder, run_id, model_id, tags)
        self.client.set_registered_model_alias(name, CANDIDATE, str(version))
        return version

    def promote(self, name: str, folder: Path, *, run_id: str, model_id: str, tags: Mapping[str, str]) -> int:
        """Register a checkpoint as a version of `name`, once, and point the alias `champion` at it."""
        version = self._version(name, folder, run_id, model_id, tags)
        self.client.set_registered_model_alias(name, CHAMPION, str(version))
        return version

    def _version(self, name: str, folder: Path, run_id: str, model_id: str, tags: Mapping[str, str]) -> int:
        """The version of a logged model, made if it has none; its tags are as given, its folder under VISOR_HOME."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_registered_model(name)
        except MlflowException:
            self.client.create_registered_model(name)
        said = {"folder": _below(folder, self.home), "model_id": model_id, **tags}
        for known in self.client.search_model_versions(f"name = '{name}'"):
            if known.tags.get("model_id") == model_id:
                for key, value in said.items():
                    self.client.set_model_version_tag(name, known.version, key, value)
                return int(known.version)
        source = self.client.get_logged_model(model_id).artifact_location
        made = self.client.create_model_version(name, source=source, run_id=run_id, tags=said, model_id=model_id)
        return int(made.version)

    def champion(self, name: str, alias: str = CHAMPION) -> dict[str, str] | None:
        """Version, folder (as it lies under this home), run, model and tags of the one under an alias, or None."""
        from mlflow.exceptions import MlflowException

        try:
            version = self.client.get_model_version_by_alias(name, alias)
        except MlflowException:
            return None
        known = {"version": str(version.version), "run_id": version.run_id or ""}
        return {**known, **version.tags, "folder": str(self.home.root / version.tags.get("folder", ""))}


def knows_run(home: Home, run_id: str, uri: str = "") -> bool:
    """Whether the store has a run, asked as cheaply as can be: for a local store without importing MLflow.

    Raises:
        ConfigError: as `Runs`, for a store elsewhere.
    """
    path = home.mlflow / "mlflow.db"
    if uri:
        return Runs(home, "visor", uri, artifacts="unused").knows(run_id)
    if not run_id or not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path)) as database:
            wanted = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
            return database.execute(wanted, (run_id,)).fetchone() is not None
    except sqlite3.OperationalError:
        return False  # it holds no table yet: MLflow is making it


def logged_model(folder: Path) -> str:
    """The MLflow model id that a build's checkpoint was logged under; empty where it was not."""
    path = folder / MODEL_FILE
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def model_of(checkpoint: Path) -> str:
    """The MLflow model id of a checkpoint folder, finished or one of those saved on the way; empty without one."""
    path = checkpoint.parent / LOGGED
    saved: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if checkpoint.name.startswith("checkpoint-"):
        return saved.get(checkpoint.name, "")
    return logged_model(checkpoint.parent)


def _below(folder: Path, home: Home) -> str:
    """A folder as it lies under VISOR_HOME, so that it holds where the home is moved."""
    resolved = folder.resolve()
    return resolved.relative_to(home.root).as_posix() if resolved.is_relative_to(home.root) else str(folder)


def _weights_digest(folder: Path) -> str:
    """Hash (16 hex digits) of a checkpoint's weights.

    Raises:
        DataError: if it holds none.
    """
    digest = hashlib.sha256()
    for path in model_files(folder):
        if path.match(WEIGHTS):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
