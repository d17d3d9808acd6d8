"""Runs on this machine whose death is noticed: Dagster's default launcher, with a health check.

A run that was ended by `kill -9` or a power cut stays "started" in Dagster's record and would hold its place in the
queue for ever. Its process is known by the events it wrote: a process identity is a pid, alive since before the event
that names it, on a machine that has not booted since. Dagster's daemon asks `check_run_worker_health` while
`visor ui` runs; `reconcile` does the same at the start of `visor run` and `visor ui`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import dagster as dg
import psutil

# Dagster exports the launcher to build on, but not the two types that its health check answers with.
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus

UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
CLOCK_SLACK = 2.0
"""Seconds by which the kernel's record of a process's start and an event's time stamp may differ."""
STOP_SECONDS = 30.0
"""How long a run that was asked to end may take before its process is killed."""
GONE = "Its process ended without a word: killed, or the machine went down. What it built is kept: run it again."


class LocalRunLauncher(dg.DefaultRunLauncher):
    """Starts each run in a process of its own on this machine, and tells whether that process still lives."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run that was started is still that process."""
        if is_alive(self._instance, run.run_id):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process is gone")


def worker_of(instance: dg.DagsterInstance, run_id: str) -> psutil.Process | None:
    """The living process of a run; None if it is gone, or has not said yet which one it is."""
    found = _stated_worker(instance, run_id)
    return None if found is None else _living(*found)


def is_alive(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run's process lives; one that has not said yet which one it is counts as living."""
    found = _stated_worker(instance, run_id)
    return found is None or _living(*found) is not None


def _stated_worker(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The newest pid that the run's events name, and when (seconds since the epoch)."""
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    for entry in reversed(events):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event is not None else None
        if pid is not None:
            return int(str(pid.value)), entry.timestamp
    return None


def _living(pid: int, stated: float) -> psutil.Process | None:
    """The process with this pid, if it was there when the pid was stated: a pid is given out again after a while."""
    if psutil.boot_time() > stated + CLOCK_SLACK:
        return None
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or process.create_time() > stated + CLOCK_SLACK:
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def reconcile(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed, so that they hold nothing up; returns their ids."""
    ended = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        if _stated_worker(instance, run.run_id) is None and run.status == dg.DagsterRunStatus.STARTING:
            continue  # Dagster's own time limit for starting runs decides
        if not is_alive(instance, run.run_id):
            instance.report_run_failed(run, GONE)
            ended.append(run.run_id)
    return ended


def stop_runs(
    instance: dg.DagsterInstance, *, seconds: float = STOP_SECONDS, say: Callable[[str], None] = print
) -> list[str]:
    """End every run that has a process of its own on this machine, by request first, by force after `seconds`.

    Returns:
        The ids of the runs that were ended.
    """
    workers = {
        run.run_id: worker
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED))
        if run.remote_job_origin is not None and (worker := worker_of(instance, run.run_id)) is not None
    }
    for run_id in workers:
        say(f"stopping run {run_id[:8]}")
        instance.run_launcher.terminate(run_id)
    deadline = time.monotonic() + seconds
    while any(worker.is_running() for worker in workers.values()) and time.monotonic() < deadline:
        _, _ = psutil.wait_procs(list(workers.values()), timeout=0.5)
    for run_id, worker in workers.items():
        if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
            for process in [*worker.children(recursive=True), worker]:
                process.kill()
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_canceled(run, "Ended with the page that it was started from.")
    return list(workers)
