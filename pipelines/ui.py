"""The two web pages of the project, Dagster's and MLflow's, as child processes that end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines.instance import place_instance, prepare_process
from visor_core.config import Home
from visor_core.errors import ConfigError, MissingDependencyError
from visor_core.tracking import tracking_uri


@dataclass(frozen=True, slots=True)
class Service:
    """One child process; `port` 0 means it serves nothing."""

    name: str
    command: tuple[str, ...]
    port: int = 0

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://localhost:{self.port}"


def services(home: Home, dagster_port: int, mlflow_port: int) -> list[Service]:
    """Dagster's webserver and daemon, and MLflow's UI."""
    code = ("-m", "pipelines.definitions")
    host = ("--host", "127.0.0.1")
    store = ("--backend-store-uri", tracking_uri(home))
    return [
        Service("Dagster", (_script("dagster-webserver"), *code, *host, "--port", str(dagster_port)), dagster_port),
        Service("Dagster daemon", (_script("dagster-daemon"), "run", *code)),
        Service("MLflow", (_script("mlflow"), "ui", *store, *host, "--port", str(mlflow_port)), mlflow_port),
    ]


def serve(home: Home, profile: str, *, dagster_port: int = 3000, mlflow_port: int = 5000) -> None:
    """Run the services until one ends or the user interrupts; then end the others.

    Raises:
        ConfigError: if a port is taken or a service ends on its own; its log is named.
    """
    prepare_process()
    place_instance(home)
    home.mlflow.mkdir(parents=True, exist_ok=True)
    wanted = services(home, dagster_port, mlflow_port)
    for service in wanted:
        if service.port and not _free(service.port):
            raise ConfigError(f"port {service.port} for {service.name} is taken: choose another, see visor ui --help")
    environment = os.environ | {
        "DAGSTER_HOME": str(home.dagster),
        "VISOR_HOME": str(home.root),
        "VISOR_PROFILE": profile,
    }
    logs = home.root / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    running: list[tuple[Service, subprocess.Popen[bytes], Path]] = []
    try:
        for service in wanted:
            log = logs / f"{service.name.lower().replace(' ', '-')}.log"
            with log.open("wb") as file:
                process = subprocess.Popen(
                    service.command,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=Path(__file__).resolve().parents[1],
                    start_new_session=True,
                )
            running.append((service, process, log))
        for service, process, log in running:
            _wait_until_up(service, process, log)
            if service.port:
                print(f"{service.name}: {service.address}", flush=True)
        print("Ctrl-C ends both.", flush=True)
        while all(process.poll() is None for _, process, _ in running):
            time.sleep(0.5)
        service, process, log = next(entry for entry in running if entry[1].poll() is not None)
        raise ConfigError(f"{service.name} ended on its own (exit code {process.returncode}): see {log}")
    finally:
        _stop([process for _, process, _ in running])


def _wait_until_up(service: Service, process: subprocess.Popen[bytes], log: Path, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while service.port and _free(service.port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ConfigError(f"{service.name} did not start within {seconds:.0f} s: see {log}")
        time.sleep(0.2)


def _free(port: int) -> bool:
    """Whether nobody listens on a local port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End each process with its own children, politely first."""
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _script(name: str) -> str:
    """A console script of this Python environment.

    Raises:
        MissingDependencyError: if it is not installed.
    """
    path = Path(sys.executable).with_name(name)
    if not path.is_file():
        raise MissingDependencyError(f"{name} is not installed beside {sys.executable}: run `make run` once")
    return str(path)
