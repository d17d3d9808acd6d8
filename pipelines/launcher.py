"""Runs of Dagster as processes of this machine: started with the settings the run carries, and their death is noticed.

The launcher starts the process itself, as those for containers do, and not through a code server: a run is loaded with
exactly the profile and the settings of its tags and of its launchpad values, whichever daemon starts it, and lives on
while daemon, webserver or code server are started again. A process is known by its pid and its mark (`process_mark`),
which the event that names it holds: the wall clock may be set meanwhile, or the machine sleep. Dagster's daemon asks
`check_run_worker_health`; `reconcile` does the same at the start of `visor run` and `visor ui`.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import psutil

# Dagster exports the launcher's base class, but not the types that it is called and answers with.
from dagster._core.events import EngineEventData
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData, serialize_value

from assets_defs.machinery.run_config import GIVEN_TAG, given_settings, with_given
from pipelines.choice import SESSION_TAG, Choice, choice_of_run
from pipelines.sessions import kill_tree, session_lives
from visor_core.config import Home
from visor_core.errors import ConfigError
from visor_core.processes import is_process, process_mark

UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
STOP_SECONDS = 30.0
"""How long a run that was asked to end may take before its process is killed."""
LAUNCH_SECONDS = 5.0
"""How long a run that is being launched may take to say its process."""
GONE = "Its process ended without a word: killed, or the machine went down. What it built is kept: run it again."
ROOT = Path(__file__).resolve().parents[1]


class LocalRunLauncher(RunLauncher[Any], ConfigurableClass):
    """Starts each run in a process of its own on this machine, and tells whether that process still lives."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> LocalRunLauncher:
        return cls(inst_data=inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a run's process, which outlives this one.

        A run whose tags or launchpad values are no settings of its profile fails here, with the reason as its message:
        Dagster's own types of configuration know no ranges, so that the launchpad lets such a value pass.
        """
        run = context.dagster_run
        try:
            choice, tags = settled(run)
        except ConfigError as error:  # raised from here it would stand in an event of the queue's, with a traceback
            self._instance.report_run_failed(run, str(error))
            return
        if run.job_code_origin is None:
            raise dg.DagsterInvariantViolationError(f"run {run.run_id} does not say which code it runs")
        self._instance.add_run_tags(run.run_id, tags)
        order = ExecuteRunArgs(job_origin=run.job_code_origin, run_id=run.run_id, instance_ref=self._instance.get_ref())
        log = run_log(Home(Path(os.environ.get("VISOR_HOME") or ".visor")), run.run_id)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            fcntl.flock(output, fcntl.LOCK_SH)  # for as long as the run, or anything it starts, has it open
            process = subprocess.Popen(
                [sys.executable, "-m", "dagster", "api", "execute_run", serialize_value(order)],
                cwd=ROOT,
                env={**os.environ, **choice.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a signal to whoever started it is not for the run
            )
        state_worker(self._instance, run, process.pid, f"its output: VISOR_HOME/logs/runs/{log.name}")
        threading.Thread(target=self._await, args=(process, run.run_id, log), daemon=True).start()

    def _await(self, process: subprocess.Popen[bytes], run_id: str, log: Path) -> None:
        """Collect the process once it ends, and end its run where it has not done so itself."""
        status = process.wait()
        if status < 0:
            _end(self._instance, run_id, GONE)
            return
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = lines[-1] if lines else "it said nothing"
        _end(self._instance, run_id, f"Its process ended with status {status} before the run did: {said} (see {log})")

    def terminate(self, run_id: str) -> bool:
        """Ask a run to end; one that does not within `STOP_SECONDS` is killed with all it started."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        worker = worker_of(self._instance, run_id)
        if worker is None:
            self._instance.report_run_canceled(run, "It had no process.")
            return True
        worker.send_signal(signal.SIGTERM)
        threading.Thread(target=self._make_sure, args=(worker, run_id), daemon=True).start()
        return True

    def _make_sure(self, worker: psutil.Process, run_id: str) -> None:
        _, staying = psutil.wait_procs([worker], timeout=STOP_SECONDS)
        for process in staying:
            kill_tree(process.pid)
        _end(self._instance, run_id, "It was killed, as it did not end when asked to.")

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run that was started is still that process."""
        if is_alive(self._instance, run.run_id):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process is gone")


def settled(run: dg.DagsterRun) -> tuple[Choice, dict[str, str]]:
    """The profile and settings that a run is made under, its launchpad values among them, and the tags that say so.

    Raises:
        ConfigError: naming the tag, the setting or the launchpad value at fault.
    """
    choice = choice_of_run(run.tags, os.environ)
    profile = choice.resolve()
    given = given_settings(run.run_config, profile)
    with_given(profile, given)
    tags = choice.tags()
    if given or GIVEN_TAG in run.tags:  # a run made again from one with other values carries the tag of that one
        tags[GIVEN_TAG] = json.dumps(given, sort_keys=True)
    return choice.with_settings(given), tags


def run_log(home: Home, run_id: str) -> Path:
    """Where the output of a run's process goes, beside what Dagster captures of its steps."""
    return home.root / "logs" / "runs" / f"{run_id}.log"


def _end(instance: dg.DagsterInstance, run_id: str, reason: str) -> None:
    """Mark a run whose process is gone as ended, unless it says so itself."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, reason)
    else:
        instance.report_run_failed(run, reason)


def state_worker(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int, more: str = "") -> None:
    """Write into a run's events which process it is."""
    held = {"pid": str(pid), "process": process_mark(pid)}
    metadata = {name: dg.MetadataValue.text(value) for name, value in held.items()}
    instance.report_engine_event(f"Started the run's process (pid {pid}); {more}", run, EngineEventData(metadata))


def worker_of(instance: dg.DagsterInstance, run_id: str) -> psutil.Process | None:
    """The living process of a run; None if it is gone, or has not said yet which one it is."""
    found = _stated_worker(instance, run_id)
    return None if found is None else _living(*found)


def is_alive(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run's process lives; one that has not said yet which one it is counts as living."""
    found = _stated_worker(instance, run_id)
    return found is None or _living(*found) is not None


def _stated_worker(instance: dg.DagsterInstance, run_id: str) -> tuple[int, str] | None:
    """The newest pid that the run's events name, and its mark."""
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    for entry in reversed(events):
        event = entry.dagster_event
        metadata = event.engine_event_data.metadata if event is not None else {}
        if "pid" in metadata and "process" in metadata:
            return int(str(metadata["pid"].value)), str(metadata["process"].value)
    return None


def _living(pid: int, mark: str) -> psutil.Process | None:
    """The process with this pid and mark; a pid is given out again after a while."""
    try:
        return psutil.Process(pid) if is_process(pid, mark) else None
    except psutil.NoSuchProcess:
        return None


def reconcile(instance: dg.DagsterInstance) -> list[str]:
    """End the runs whose process, or whose `visor run`, is gone, so that they hold nothing up; returns their ids."""
    ended = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=[*UNFINISHED, *WAITING])):
        orphaned = SESSION_TAG in run.tags and not session_lives(run.tags[SESSION_TAG])
        if run.status in WAITING:
            if orphaned:
                instance.report_run_canceled(run, "The `visor run` that submitted it is gone.")
                ended.append(run.run_id)
            continue
        if _stated_worker(instance, run.run_id) is None and run.status == dg.DagsterRunStatus.STARTING:
            continue  # Dagster's own time limit for starting runs decides
        worker = worker_of(instance, run.run_id)
        if worker is not None and orphaned:
            kill_tree(worker.pid)
            _end(instance, run.run_id, "The `visor run` that submitted it is gone.")
            ended.append(run.run_id)
        elif worker is None:
            _end(instance, run.run_id, GONE)
            ended.append(run.run_id)
    return ended


def stop_runs(
    instance: dg.DagsterInstance,
    *,
    session: str = "",
    seconds: float = STOP_SECONDS,
    say: Callable[[str], None] = print,
) -> list[str]:
    """End every run that has a process on this machine, by request first, by force after `seconds`.

    Args:
        session: only the runs of this `visor run`, those that still wait included.

    Returns:
        The ids of the runs that were ended.
    """
    tags = {SESSION_TAG: session} if session else {}
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=WAITING, tags=tags)) if session else ():
        instance.report_run_canceled(run, "The `visor run` that submitted it has ended.")
    workers: dict[str, psutil.Process] = {}
    deadline = time.monotonic() + LAUNCH_SECONDS
    while True:
        unfinished = instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED, tags=tags))
        silent = False
        for run in unfinished:
            if run.remote_job_origin is None or run.run_id in workers:
                continue
            worker = worker_of(instance, run.run_id)
            if worker is not None:
                say(f"stopping run {run.run_id[:8]}")
                instance.run_launcher.terminate(run.run_id)
                workers[run.run_id] = worker
            silent = silent or (worker is None and run.status == dg.DagsterRunStatus.STARTING)
        if not silent or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    _, staying = psutil.wait_procs(list(workers.values()), timeout=seconds)
    for worker in staying:
        kill_tree(worker.pid)
    for run_id in workers:
        _end(instance, run_id, "It ended with what it was started from.")
    return list(workers)
