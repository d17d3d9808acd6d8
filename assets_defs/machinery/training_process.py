"""Work that gets a process of its own: a worker module started through Dagster Pipes, optionally by accelerate.

The order is a JSON file in the build folder, so that every rank can read it and a person can start a worker by hand.
The worker's output goes to `worker.log` beside it; its first user error comes back as the same error here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from assets_defs.machinery.attempts import attempt
from assets_defs.machinery.launching import launch_of, launcher
from assets_defs.machinery.links import WORKER_LOG
from assets_defs.machinery.stage import Figure
from assets_defs.machinery.workspace import Work
from visor_core import errors
from visor_core.config import ChecksConfig
from visor_core.files import write_json
from visor_core.tracking import QUIET


def run_worker(
    work: Work,
    module: str,
    inputs: Mapping[str, str | Path],
    *,
    accelerate: bool = False,
) -> dict[str, dict[str, Figure]]:
    """Run `pipelines.workers.<module>` and return what it reported: figures by asset key, `data_version` among them.

    Raises:
        ConfigError: as `launch_of`.
        VisorError: the worker's own, if it ended with one.
        DagsterPipesExecutionError: if it failed otherwise; the message names its log.
    """
    with work.tracking.run(work) as run_id:
        work.show_links()
        return _run(work, module, inputs, run_id, accelerate=accelerate)


def _run(
    work: Work, module: str, inputs: Mapping[str, str | Path], run_id: str, *, accelerate: bool
) -> dict[str, dict[str, Figure]]:
    """The process and what it reported; its MLflow run is that of `run_id`."""
    tracking = work.tracking
    order = work.folder / "order.json"
    write_json(
        order,
        {
            # From where the order lies, so that it still holds where the home is moved.
            "home": Path(os.path.relpath(work.home.root, work.folder)).as_posix(),
            "stage": work.node.stage,
            "profile": work.profile.model_dump(mode="json"),
            "inputs": {
                key: work.home.below(value) if isinstance(value, Path) else value for key, value in inputs.items()
            },
            "tracking": {"experiment": tracking.experiment, "uri": tracking.uri, "artifacts": tracking.artifacts},
        },
    )
    problem = work.folder / "error.json"
    problem.unlink(missing_ok=True)
    log = work.folder / WORKER_LOG
    launch = launch_of(work.profile) if accelerate else None
    threads = work.profile.threads or max(1, (os.cpu_count() or 1) // (launch.processes if launch else 1))
    environment = {
        **QUIET,
        "MLFLOW_RUN_ID": run_id,
        "OMP_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": "1000",
        "VISOR_PARENT_PID": str(os.getpid()),
        "VISOR_WORKER_LOG": str(log),
        "PYTHONUNBUFFERED": "1",
    }
    starting = launcher(work.profile, launch) if launch else ["-m"]
    worker = [*starting, f"pipelines.workers.{module}", str(order)]
    # The shell only sends the output to the log and is replaced by the worker, which then gets the signals itself.
    command = ["sh", "-c", 'exec "$0" "$@" >>"$VISOR_WORKER_LOG" 2>&1', sys.executable, *worker]
    try:
        with attempt(work.folder):
            completed = work.pipes.run(context=work.context, command=command, env=environment)
        messages = completed.get_custom_messages()
    except DagsterPipesExecutionError as error:
        if problem.is_file():
            told = json.loads(problem.read_text(encoding="utf-8"))
            raise getattr(errors, told["type"])(told["message"]) from error
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:] if log.is_file() else []
        raise DagsterPipesExecutionError(f"{work.node}: its process failed, see {log}\n" + "\n".join(lines)) from error
    return {told["asset"]: {**told["figures"], "data_version": told["data_version"]} for told in messages}


def finish_training(
    work: Work,
    reported: Mapping[str, Mapping[str, Figure]],
    *,
    output: str = "final",
    index_tag: str = "",
    told: Mapping[str, Any] | None = None,
) -> None:
    """Put what a worker reported for its stage in force; its checkpoint lies in the subfolder `output`."""
    figures = dict(reported[work.node.stage])
    version = str(figures.pop("data_version"))
    work.finish(version, figures, path=work.folder / output if output else None, index_tag=index_tag, told=told)


def fell(losses: Sequence[float], checks: ChecksConfig, share: float = 0.1) -> dg.AssetCheckResult:
    """Whether the mean of the last `share` of the losses is below `checks.loss_ratio` times that of the first."""
    if len(losses) < 2:
        return dg.AssetCheckResult(passed=False, metadata={"steps": len(losses)}, description="too few steps recorded")
    part = max(1, round(len(losses) * share))
    first, last = sum(losses[:part]) / part, sum(losses[-part:]) / part
    return dg.AssetCheckResult(
        passed=last < checks.loss_ratio * first, metadata={"first": first, "last": last, "steps": len(losses)}
    )
