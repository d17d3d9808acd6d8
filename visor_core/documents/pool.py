"""Worker processes with a time and a memory limit: a crash or a hang costs one document.

Tasks run in the order given, one a worker at a time; the pool yields messages as they come. A document's time is what
workers spend on all of its tasks together: over its limit they are killed; a worker that dies is replaced, and either
way the document ends as `Failed` with the reason. Messages are read one at a time, so a slow consumer slows the workers
down instead of filling memory; pictures lie in a file in memory that a worker shares with its parent.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType

from visor_core.documents.messages import MOST_BYTES, Failed, Finished, MalformedError, Message, Shelved, unpacked
from visor_core.documents.worker import Task

_SERVE = "from visor_core.documents.worker import main; main()"
"""Imported rather than run as a module, so that tasks are unpickled under the module's own name."""
_CONFINE = "import json; from visor_core.documents.confinement import confine; print(json.dumps(confine()))"
_KEPT = re.compile(
    "PATH|HOME|TZ|TMPDIR|LANG|LANGUAGE|LC_.*|(LD|DYLD)_LIBRARY_PATH|PYTHON.*|VIRTUAL_ENV|GLIBC_TUNABLES|FONTCONFIG_.*"
    "|VISOR_HOME"
)
"""Variables that a worker is given: where programs, libraries and fonts lie. Keys and passwords stay here."""
_STALLED = 60
"""Seconds after which a worker that has stopped in the middle of a message is taken for dead."""
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


@dataclass
class Worker:
    """A worker process, our end of its pipe, the file for pictures we share, and what it is doing since when."""

    process: subprocess.Popen[bytes]
    connection: Connection
    shared: int
    task: Task | None = None
    started: float = 0.0

    def stop(self) -> None:
        """Kill it, whatever it is doing."""
        self.close()
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Close this process's ends."""
        self.connection.close()
        os.close(self.shared)

    def cause_of_death(self, memory_bytes: int) -> str:
        """What a worker that closed its pipe died of, with this much memory allowed."""
        self.close()
        try:
            code = self.process.wait(timeout=_STALLED)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "the worker that read it stopped answering: it was stopped"
        if code == -signal.SIGKILL:
            return "the worker that read it was killed by the system (out of memory?)"
        if code < 0:
            return f"the renderer crashed while reading it ({signal.Signals(-code).name})"
        return (
            f"the renderer gave up while reading it (exit code {code}); it may need more than "
            f"documents.memory_bytes = {memory_bytes:,}"
        )


class WorkerPool:
    """`workers` processes, started when first needed; use as a context manager."""

    def __init__(self, workers: int) -> None:
        self._size = workers
        self._workers: list[Worker] = []
        self.spent: dict[str, float] = {}
        """Seconds that workers spent on each document (by key) in the last run."""
        self._limits: dict[str, float] = {}

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in list(self._workers):
            self._stop(worker)

    def run(self, tasks: Sequence[tuple[Task, float]]) -> Iterator[Message]:
        """Perform tasks, given with the time limits of their documents in seconds, and yield their messages.

        Every task ends with exactly one `Finished` or `Failed`. Once a task of a document (same key) has failed, that
        document's waiting tasks fail with the same reason without being started.
        """
        for worker in [w for w in self._workers if w.task is not None]:
            self._stop(worker)  # an earlier run was left before its end
        waiting = deque(tasks)
        self.spent = dict.fromkeys((task.key for task, _ in tasks), 0.0)
        self._limits = {task.key: seconds for task, seconds in tasks}
        failed: dict[str, Failed] = {}
        while waiting or any(w.task for w in self._workers):
            for worker in self._idle(len(waiting)):
                while waiting and waiting[0][0].key in failed:
                    task, _ = waiting.popleft()
                    yield failed[task.key]
                if waiting:
                    self._assign(worker, waiting.popleft()[0])
            for message in self._receive():
                if isinstance(message, Failed):
                    failed[message.key] = message
                yield message

    def _idle(self, wanted: int) -> list[Worker]:
        while len(self._workers) < self._size and sum(w.task is None for w in self._workers) < wanted:
            self._workers.append(start_worker())
        return [w for w in self._workers if w.task is None]

    def _assign(self, worker: Worker, task: Task) -> None:
        worker.task, worker.started = task, time.monotonic()
        try:
            worker.connection.send(task)
        except (BrokenPipeError, ConnectionError):
            return  # the worker died while idle: its closed pipe is met, and the reason found, by `_receive`

    def _receive(self) -> Iterator[Message]:
        """Messages that are ready, or the failures of workers that died or are overdue."""
        busy = [w for w in self._workers if w.task is not None]
        if not busy:
            return
        soonest = min(self._left(w.task.key)[1] for w in busy if w.task)
        ready = wait([w.connection for w in busy], timeout=max(0.0, soonest))
        for worker in busy:
            task = worker.task
            if task is None:
                continue
            if worker.connection in ready:
                try:
                    received = unpacked(worker.connection.recv_bytes(MOST_BYTES), task.key, task.pages)
                except MalformedError:
                    self._spend(worker, task)
                    self._stop(worker)
                    yield Failed(task.key, "the worker that read it answered with what is no message: it was stopped")
                    continue
                except (EOFError, OSError):  # a worker that dies in the middle of a message leaves a plain OSError
                    self._spend(worker, task)
                    self._workers.remove(worker)
                    yield Failed(task.key, worker.cause_of_death(task.memory_bytes))
                    continue
                message: Message = received.taken(worker.shared) if isinstance(received, Shelved) else received
                if isinstance(message, Finished | Failed):
                    self._spend(worker, task)
                    worker.task = None
                yield message
            elif self._left(task.key)[0] <= 0.0:
                self._spend(worker, task)
                self._stop(worker)
                yield Failed(
                    task.key,
                    f"reading it took longer than its time limit of {self._limits[task.key]:g} s "
                    "(documents.timeout_seconds): it was stopped",
                )

    def _left(self, key: str) -> tuple[float, float]:
        """Worker seconds a document has left, and the seconds from now in which its busy workers use them up."""
        now = time.monotonic()
        running = [now - w.started for w in self._workers if w.task is not None and w.task.key == key]
        left = self._limits[key] - self.spent[key] - sum(running)
        return left, left / max(1, len(running))

    def _spend(self, worker: Worker, task: Task) -> None:
        self.spent[task.key] += time.monotonic() - worker.started

    def _stop(self, worker: Worker) -> None:
        self._workers.remove(worker)
        worker.stop()


def clean_environment() -> dict[str, str]:
    """The environment of a process that reads documents: without what it has no need to know, and for one thread."""
    environment = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    # The package may be importable only through the parent's own path (a source checkout).
    environment["PYTHONPATH"] = os.pathsep.join([str(_PACKAGE_PARENT), *filter(None, [environment.get("PYTHONPATH")])])
    environment["OMP_NUM_THREADS"] = environment["OPENBLAS_NUM_THREADS"] = "1"
    return environment


def confinement_offered() -> list[str]:
    """What of the kernel confines a worker here, tried in a process of its own; nothing where it cannot be."""
    tried = subprocess.run([sys.executable, "-c", _CONFINE], capture_output=True, check=False, env=clean_environment())
    return list(json.loads(tried.stdout)) if tried.returncode == 0 else []


def start_worker() -> Worker:
    """A worker process that waits for its first task."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _STALLED, 0))
    environment = clean_environment()
    # A page's raster and its copies are megabytes, fresh from the system every time: huge pages spare a tenth of the
    # work, most of it page faults. A C library that does not know the setting ignores it.
    environment.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    shared = _shared_file()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(theirs.fileno()), str(shared)],
            pass_fds=(theirs.fileno(), shared),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    return Worker(process, Connection(ours.detach()), shared)


def _shared_file() -> int:
    """A file without a name for pictures on their way, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("visor-pictures")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
