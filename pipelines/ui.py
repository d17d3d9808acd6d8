"""Dagster's webserver and daemon, and MLflow's page, together on this machine alone (127.0.0.1), until interrupted.

Where runs go to a server, its own page is named and none is started.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from pipelines.instance import open_instance, place_instance, place_partitions, prepare_process
from pipelines.launcher import reconcile, stop_runs
from pipelines.resources import ADDRESS
from visor_core.config import Home, Profile
from visor_core.errors import ConfigError
from visor_core.tracking import Tracker, configured, page_of, project_name, tracking_uri

START_SECONDS = 120.0
ROOT = Path(__file__).resolve().parents[1]


def commands(home: Home, dagster_port: int, mlflow_port: int) -> dict[str, list[str]]:
    """What is started, by the name of its log. `dagster dev` is webserver, daemon and one code server.

    Args:
        mlflow_port: 0 starts no page of MLflow's.
    """
    python = [sys.executable, "-m"]
    dagster = [*python, "dagster", "dev", "-m", "pipelines.definitions", "-h", ADDRESS, "-p", str(dagster_port)]
    if not mlflow_port:
        return {"dagster": dagster}
    return {
        "dagster": dagster,
        "mlflow": [
            *python,
            "mlflow",
            "server",
            "--backend-store-uri",
            tracking_uri(home),
            "--artifacts-destination",
            (home.mlflow / "artifacts").as_uri(),
            "--host",
            ADDRESS,
            "--port",
            str(mlflow_port),
            "--workers",
            "1",
        ],
    }


def serve(
    home: Home, profile: Profile, chosen: Mapping[str, str], *, dagster_port: int = 3000, mlflow_port: int = 5000
) -> None:
    """Start the pages, say where they are, and wait; everything started is stopped on the way out.

    Args:
        profile: the one that is materialized from the page.
        chosen: the environment that names it to Dagster's processes.

    Raises:
        ConfigError: if a port is none or is taken, or a server ends or does not answer; its log is named.
    """
    elsewhere = configured(profile.tracking.uri)
    wanted = {"dagster": dagster_port} if elsewhere else {"mlflow": mlflow_port, "dagster": dagster_port}
    for name, port in wanted.items():
        if not 1 <= port <= 65535:
            raise ConfigError(f"--{name}-port {port} is no port: choose one from 1 to 65535")
        if _answers(port):
            raise ConfigError(
                f"--{name}-port {port} is taken on {ADDRESS}: stop what listens there or choose another port"
            )
    prepare_process()
    folder = place_instance(home)
    with open_instance(home) as instance:
        for run_id in reconcile(instance):
            print(f"run {run_id[:8]} had ended without a word: marked as failed", flush=True)
        place_partitions(instance, home, profile)
    # Made here, so that the page does not show a migration error; a server that does not answer is told of here.
    Tracker(home, project_name(profile.name), elsewhere, profile.tracking.artifacts).reconcile()
    mlflow_page = page_of(home, elsewhere, local=f"http://{ADDRESS}:{mlflow_port}")
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(folder),
        "VISOR_HOME": str(home.root),
        **chosen,
        "VISOR_DAGSTER_PAGE": f"http://{ADDRESS}:{dagster_port}",
        "VISOR_MLFLOW_PAGE": mlflow_page,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    logs = home.root / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    running: dict[str, subprocess.Popen[bytes]] = {}
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell that starts this in the background ignores SIGINT for it
        signal.signal(number, _interrupt)
    try:
        for name, command in commands(home, dagster_port, 0 if elsewhere else mlflow_port).items():
            with (logs / f"{name}.log").open("wb") as log:
                running[name] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        if elsewhere:
            print(f"{'mlflow':<8} {mlflow_page or 'a database without a page'}", flush=True)
        for name, port in wanted.items():
            _await(name, running[name], port, logs)
            print(f"{name:<8} http://{ADDRESS}:{port}", flush=True)
        print("Ctrl-C ends both.", flush=True)
        while all(process.poll() is None for process in running.values()):
            time.sleep(0.5)
        ended = next(name for name, process in running.items() if process.poll() is not None)
        raise ConfigError(f"{ended} has ended, see {logs / f'{ended}.log'}")
    finally:
        if "dagster" in running and running["dagster"].poll() is None:
            # Before the pages: a run is asked to end through the code server that started it.
            with open_instance(home) as instance:
                stop_runs(instance)
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((ADDRESS, port)) == 0


def _await(name: str, process: subprocess.Popen[bytes], port: int, logs: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ConfigError(f"{name} does not answer on port {port}, see {logs / f'{name}.log'}")
        time.sleep(0.3)
