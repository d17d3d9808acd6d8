"""Dagster's code server, webserver and daemon as processes of one owner, on this machine alone (127.0.0.1).

`dagster dev` starts the same three and ends all when one does. Here one that ends unasked is started again: runs are
processes of their own (`pipelines.launcher`), so that nothing is lost with it. A home has one daemon, so that nothing
is launched twice: whoever holds the lock starts it, and the next owner takes it over.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from assets_defs.machinery.links import ADDRESS
from pipelines.choice import Choice
from pipelines.sessions import kill_tree
from visor_core.addresses import pasteable
from visor_core.config import Home
from visor_core.errors import ConfigError

LOCATION = "visor"
ROOT = Path(__file__).resolve().parents[1]
MOST_RESTARTS, WINDOW = 5, 120.0
"""A service that ends unasked more often than this within so many seconds is given up."""
STOP_SECONDS = 10.0
"""How long services may take to end before they are killed."""


@dataclass
class Service:
    """One process: how it is started, and where its output goes. `socket` is a file that it makes anew."""

    name: str
    command: list[str]
    log: Path
    environment: dict[str, str]
    socket: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    restarts: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_RESTARTS))

    def start(self) -> None:
        """Start it; its log is that of its last start and of the one before."""
        if self.socket is not None:
            self.socket.unlink(missing_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".before.log"))
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the owner, which ends them in order
            )

    def keep_up(self) -> None:
        """Start it again if it has ended.

        Raises:
            ConfigError: if it does not stay up.
        """
        if self.process is None or self.process.poll() is None:
            return
        now = time.monotonic()
        if len(self.restarts) == self.restarts.maxlen and now - self.restarts[0] < WINDOW:
            raise ConfigError(f"{self.name} ends again and again, see {self.log}")
        self.restarts.append(now)
        self.start()

    def stop(self) -> None:
        """End it, and wait until it has."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Services:
    """The processes of one owner. `address` is where the page and GraphQL answer once `wait` has returned."""

    def __init__(self, home: Home, choice: Choice, *, port: int, page: bool) -> None:
        """Nothing is started yet.

        Args:
            port: of the webserver.
            page: for people to look at: the daemon evaluates schedules and sensors, the code can be loaded anew.
        """
        self.address = f"http://{ADDRESS}:{port}"
        self._port = port
        self._folder = Path(tempfile.mkdtemp(prefix="visor-"))  # a socket's path may have 107 bytes
        self._lock = _Lock(home.dagster / "daemon.lock")
        code = self._folder / "code.sock"
        workspace = self._folder / "workspace.yaml"
        server = {"grpc_server": {"socket": str(code), "location_name": LOCATION}}
        workspace.write_text(yaml.safe_dump({"load_from": [server]}), encoding="utf-8")
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(pasteable(home.dagster)),
            "VISOR_HOME": str(home.root),
            **choice.environment(),
        }
        logs, name = home.root / "logs", "dagster" if page else "run"

        def service(part: str, arguments: Sequence[str], made: Path | None = None) -> Service:
            return Service(f"{name} {part}", list(arguments), logs / f"{name}-{part}.log", environment, made)

        loads = ["code-server", "start"] if page else ["api", "grpc"]
        target = ["-m", "pipelines.definitions", "--location-name", LOCATION, "--inject-env-vars-from-instance"]
        self.code = service("code", [*_tied("dagster"), *loads, *target, "-s", str(code)], code)
        listens = ["-h", ADDRESS, "-p", str(port), "-w", str(workspace)]
        self.web = service("web", [*_tied("dagster_webserver", after=code), *listens])
        sees = ["-w", str(workspace)] if page else ["--empty-workspace"]
        self.daemon = service("daemon", [*_tied("dagster._daemon"), "run", *sees])

    @property
    def all(self) -> tuple[Service, ...]:
        """The three, in the order in which they end."""
        return self.daemon, self.web, self.code

    def start(self) -> None:
        """Start what is not there yet; the daemon as soon as nobody else has one."""
        self.code.start()
        self.web.start()
        self.keep_up()

    def keep_up(self) -> None:
        """Start again what has ended, and the daemon where its place has become free.

        Raises:
            ConfigError: if a service does not stay up.
        """
        if self.daemon.process is None and self._lock.take():
            self.daemon.start()
        for service in self.all:
            service.keep_up()

    def ready(self) -> bool:
        """Whether the webserver answers."""
        return answers(self._port)

    def stop(self) -> None:
        """End all, and wait until they have ended."""
        for service in self.all:
            if service.process is not None:
                service.process.terminate()
        if self.code.process is not None:
            kill_tree(self.code.process.pid)  # it keeps nothing, and waits for its clients to leave
        for service in self.all:
            service.stop()
        self._lock.give_back()
        shutil.rmtree(self._folder, ignore_errors=True)


def _tied(module: str, after: Path | None = None) -> list[str]:
    """The command of a module that ends with this process."""
    waits = ["--after", str(after)] if after else []
    return [sys.executable, "-m", "pipelines.tied", *waits, str(os.getpid()), module]


def answers(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((ADDRESS, port)) == 0


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


class _Lock:
    """A lock that its process holds until it ends or gives it back."""

    def __init__(self, path: Path) -> None:
        self._path, self._handle = path, -1

    def take(self) -> bool:
        """Whether it is held now."""
        if self._handle < 0:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            self._handle = handle
        return True

    def give_back(self) -> None:
        """Let another process have it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
