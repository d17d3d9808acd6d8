"""Runs of MLflow: opened, continued by id from another process, filled and closed.

A run of a Dagster run is the parent of the runs of its stages. Each says which process keeps it open, so that one whose
process was killed is not shown as running for ever.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from visor_core.config import Home
from visor_core.errors import ConfigError
from visor_core.processes import is_process, process_mark
from visor_core.tracking.address import Store, store_of, use
from visor_core.tracking.moving import refuse_placed
from visor_core.tracking.stores import prepare
from visor_core.tracking.values import TIME, cell, flat, is_scalar, short, silence, under_phase

RUN_FILE = "mlflow_run.txt"
"""In a stage's folder: the id of its run."""
PROCESS_TAG = "visor.process"
PARENT_TAG = "mlflow.parentRunId"
DAGSTER_TAG = "dagster_run_id"
KIND_TAG = "visor.kind"
PARENT, STAGE, EVALUATION, COMPARISON = "asset run", "stage", "evaluation", "comparison"
"""What a run is of: a Dagster run, one of its stages, a `visor eval`."""
_BATCH = 100
"""Parameters, and tags, of one request; MLflow takes no more."""

Outcome = Literal["FINISHED", "FAILED", "KILLED"]


def project_name(profile: str) -> str:
    """The name of a profile's experiment, and of its registered model."""
    return f"visor-{profile}"


def commit_tags(commit: str, dirty: bool) -> dict[str, str]:
    """The commit of the running code under MLflow's name for it, and whether the code differs; none without one."""
    return {"mlflow.source.git.commit": commit, "visor.dirty": str(dirty).lower()} if commit else {}


def outcome_of(error: BaseException | None) -> Outcome:
    """How a run ended: what is no `Exception` is somebody's wish to stop (Ctrl-C, Dagster's interruption)."""
    if error is None:
        return "FINISHED"
    return "FAILED" if isinstance(error, Exception) else "KILLED"


class Runs:
    """The runs of one experiment. Building one imports MLflow and creates the database if need be.

    Raises:
        ConfigError: if the server does not answer, or the home's database names folders (see `adopt`).
    """

    def __init__(self, home: Home, experiment: str, uri: str = "", artifacts: str = "") -> None:
        silence()
        from mlflow import MlflowClient

        for name in ("alembic", "mlflow"):  # MLflow sets levels of its own as it is imported
            logging.getLogger(name).setLevel(logging.ERROR)

        self.home = home
        self.store: Store = store_of(home, uri, artifacts)
        prepare(self.store, home)
        use(self.store)
        self.client: Any = MlflowClient(tracking_uri=self.store.address, registry_uri=self.store.address)
        try:
            self.experiment_id: str = self._experiment(experiment)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{self.store.shown} needs the package {error.name}: `pip install {error.name}`"
            ) from error

    def _experiment(self, name: str) -> str:
        """The id of an experiment, made if it is not there; two processes may want it first."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            files = f"{self.store.files}{name}" if self.store.local else self.store.files or None
            try:
                return str(self.client.create_experiment(name, artifact_location=files))
            except MlflowException:
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        if self.store.local:
            refuse_placed(self.home, found.artifact_location)
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def knows(self, run_id: str) -> bool:
        """Whether the store has a run; one that was deleted on the page counts as unknown."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(run_id) and self.client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def open_run(
        self, name: str, *, tags: Mapping[str, str] | None = None, run_id: str = "", parent: str = "", started: int = 0
    ) -> str:
        """Start a run, or continue `run_id` if the store knows it; returns the id.

        Args:
            parent: the run it stands under.
            started: when it began, in milliseconds since the epoch; 0 is now.
        """
        held = {PROCESS_TAG: _this_process(), **({PARENT_TAG: parent} if parent else {})}
        if self.knows(run_id):
            self.client.update_run(run_id, status="RUNNING")
            for key, value in {**held, **(tags or {})}.items():
                self.client.set_tag(run_id, key, value)
            return run_id
        run = self.client.create_run(
            self.experiment_id, run_name=name, tags={**held, **(tags or {})}, start_time=started or None
        )
        return str(run.info.run_id)

    def open_parent(self, dagster_run_id: str, *, tags: Mapping[str, str], settings: Mapping[str, Any]) -> str:
        """The run of a Dagster run, made when its first stage asks for it; returns the id."""
        found = self._search(f"tags.{DAGSTER_TAG} = '{dagster_run_id}' AND tags.`{KIND_TAG}` = '{PARENT}'")
        if found:
            return str(found[0].info.run_id)
        # The page cuts names off: what tells two apart comes first.
        name = f"{dagster_run_id[:8]} {time.strftime('%d %b %H:%M')}"
        run_id = self.open_run(name, tags={DAGSTER_TAG: dagster_run_id, KIND_TAG: PARENT, **tags})
        self.parameters(run_id, flat(settings))
        return run_id

    def open_stage(
        self,
        folder: Path,
        name: str,
        *,
        tags: Mapping[str, str],
        settings: Mapping[str, Any],
        parent: str = "",
        started: int = 0,
    ) -> str:
        """The run of a training stage: the one it began with, if it was interrupted in `folder`; returns the id.

        Args:
            settings: logged as parameters, sections of a profile by dotted key.
        """
        path = folder / RUN_FILE
        known = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        run_id = self.open_run(name, tags=tags, run_id=known, parent=parent, started=started)
        self.parameters(run_id, flat(settings))
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(run_id, encoding="utf-8")
        return run_id

    def close_run(self, run_id: str, outcome: Outcome = "FINISHED", *, ended: int = 0) -> None:
        """Mark a run as ended. One that was killed stays so: what fails for that reason afterwards is no failure.

        Args:
            ended: when, in milliseconds since the epoch; 0 is now.
        """
        if outcome == "FAILED" and self.client.get_run(run_id).info.status == "KILLED":
            return
        self.client.set_terminated(run_id, status=outcome, end_time=ended or None)

    @contextmanager
    def ending(self, run_id: str, *, ended: int = 0) -> Iterator[None]:
        """Close a run as what is done in it ends: finished, failed, or killed where somebody stopped it."""
        try:
            yield
        except BaseException as error:
            self.close_run(run_id, outcome_of(error))
            raise
        self.close_run(run_id, ended=ended)

    def close_parent(self, dagster_run_id: str, *, failed: bool = False, killed: bool = False) -> None:
        """End the run of a Dagster run: as told, or as the worst of its stages ended. Nothing happens without one."""
        for parent in self._search(f"tags.{DAGSTER_TAG} = '{dagster_run_id}' AND tags.`{KIND_TAG}` = '{PARENT}'"):
            run_id = parent.info.run_id
            ends = {run.info.status for run in self._search(f"tags.`{PARENT_TAG}` = '{run_id}'")}
            if killed or "KILLED" in ends:
                self.close_run(run_id, "KILLED")
            else:
                self.close_run(run_id, "FAILED" if failed or "FAILED" in ends else "FINISHED")

    def kill(self, run_id: str) -> None:
        """Mark a run and the one above it as killed: the process that kept them is gone."""
        self.close_run(run_id, "KILLED")
        parent = self.client.get_run(run_id).data.tags.get(PARENT_TAG, "")
        if parent:
            self.close_run(parent, "KILLED")

    def reconcile(self) -> list[str]:
        """Mark runs as killed that no process of this machine keeps open any more; returns their ids."""
        gone = []
        for run in self._search("attributes.status = 'RUNNING'"):
            if _is_gone(run.data.tags.get(PROCESS_TAG, "")):
                self.client.set_terminated(run.info.run_id, status="KILLED")
                gone.append(str(run.info.run_id))
        return gone

    def _search(self, condition: str) -> Sequence[Any]:
        return self.client.search_runs([self.experiment_id], condition, max_results=1000)  # type: ignore[no-any-return]

    def parameters(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Log flat parameters; values already logged under the same key are kept."""
        from mlflow.entities import Param

        known = self.client.get_run(run_id).data.params
        fresh = [Param(k, short(str(v))) for k, v in values.items() if k not in known]
        for start in range(0, len(fresh), _BATCH):
            self.client.log_batch(run_id, params=fresh[start : start + _BATCH])

    def datasets(self, run_id: str, inputs: Iterable[tuple[str, str, str]], context: str) -> None:
        """Log what a run reads: (name, digest, where it lies under VISOR_HOME); `context` is `training` or such."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        found = [
            DatasetInput(
                Dataset(name, digest[:36], source_type="visor", source=place),
                tags=[InputTag("mlflow.data.context", context)],
            )
            for name, digest, place in inputs
        ]
        if found:
            self.client.log_inputs(run_id, found)

    def metrics(self, run_id: str, values: Mapping[str, Any], step: int = 0) -> None:
        """Log scalars of one step; what is no finite number is left out."""
        self.history(run_id, [(step, values)])

    def history(self, run_id: str, steps: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Log scalars of many steps, as few requests as MLflow takes."""
        now = time.time()
        self._history(run_id, [(step, now, values) for step, values in steps])

    def training_history(self, run_id: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Log what a trainer reported of its steps.

        In a row, `step` counts, `time` says when it ended (seconds since the epoch; now without it), and a `phase`
        stands before the names of its scalars.
        """
        now = time.time()
        self._history(run_id, [(int(row.get("step", 0)), float(row.get(TIME, now)), under_phase(row)) for row in rows])

    def _history(self, run_id: str, steps: Iterable[tuple[int, float, Mapping[str, Any]]]) -> None:
        from mlflow.entities import Metric

        scalars = [
            Metric(key, float(value), int(when * 1000), step)
            for step, when, values in steps
            for key, value in values.items()
            if is_scalar(value)
        ]
        for start in range(0, len(scalars), 1000):
            self.client.log_batch(run_id, metrics=scalars[start : start + 1000])

    def artifacts(self, run_id: str, files: Iterable[Path], folder: str = "") -> None:
        """Log files of a run."""
        for path in files:
            self.client.log_artifact(run_id, str(path), folder or None)

    def table(self, run_id: str, rows: Sequence[Mapping[str, Any]], file: str) -> None:
        """Log rows as a table that MLflow's page sorts and filters; one of the same name is replaced.

        MLflow's own `log_table` appends to one, and a run that goes on would have each row twice.
        """
        columns = list(rows[0]) if rows else []
        table = {"columns": columns, "data": [[cell(row[name]) for name in columns] for row in rows]}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(file).name
            path.write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
            self.client.log_artifact(run_id, str(path), str(Path(file).parent) if "/" in file else None)
        self._mark_table(run_id, file)

    def _mark_table(self, run_id: str, file: str) -> None:
        """Note in the run's tags that a file is a table: the page shows it as one."""
        key = "mlflow.loggedArtifacts"
        known = json.loads(self.client.get_run(run_id).data.tags.get(key, "[]"))
        entry = {"path": file, "type": "table"}
        if entry not in known:
            self.client.set_tag(run_id, key, json.dumps([*known, entry]))


def _this_process() -> str:
    """This process among all machines, restarts and users of a process id."""
    return f"{platform.node()} {os.getpid()} {process_mark(os.getpid())}"


def _is_gone(stated: str) -> bool:
    """Whether a process of this machine, as `_this_process` states it, is there no more."""
    node, _, rest = stated.rpartition(" ")[0].rpartition(" ")
    return node == platform.node() and rest.isdigit() and not is_process(int(rest), stated.rpartition(" ")[2])
