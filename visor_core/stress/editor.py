"""Edits documents in a process of its own, under the limits that reading has: a crash or a hang costs one document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from visor_core.config import DocumentsConfig
from visor_core.errors import DocumentError
from visor_core.stress.edits import Edit, as_json

_SERVE = "from visor_core.stress.editing import main; main()"
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_EDITING = 4.0
"""An edited document is read, drawn and written more often than one that is read."""


@dataclass(frozen=True, slots=True)
class Job:
    """Edits of one document: where it lies, where the edited copy goes, and how many pages it has."""

    source: Path
    target: Path
    edits: tuple[Edit, ...]
    pages: int
    password: str = ""


class Editor:
    """One editing process, started when first needed and again after each that had to be stopped."""

    def __init__(self, config: DocumentsConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Editor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def edit(self, job: Job) -> list[str]:
        """Edit one document: what could not be done, an entry an edit, empty where it holds.

        Raises:
            DocumentError: if nothing of it can be done, with the reason.
        """
        config = self._config
        seconds = config.timeout_seconds + _EDITING * config.page_seconds * job.pages
        job.target.parent.mkdir(parents=True, exist_ok=True)
        asked = {
            "source": str(job.source),
            "target": str(job.target),
            "edits": [as_json(edit) for edit in job.edits],
            "renderer": config.renderer,
            "password": job.password,
            "memory_bytes": config.memory_bytes,
        }
        answer = self._answer(json.dumps(asked).encode() + b"\n", seconds)
        try:
            told = json.loads(answer)
            if refused := told.get("refused"):
                raise DocumentError(str(refused))
            faults = [str(fault) for fault in told["faults"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.stop()
            raise DocumentError("the process that edited it answered nonsense") from error
        if len(faults) != len(job.edits):
            raise DocumentError(f"of {len(job.edits)} edits, {len(faults)} were told about")
        return faults

    def _answer(self, line: bytes, seconds: float) -> bytes:
        """The process's answer to a line.

        Raises:
            DocumentError: if it dies or takes too long; it is then stopped.
        """
        process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        finally:
            in_time = timer.is_alive()
            timer.cancel()
        if answer.endswith(b"\n"):
            return answer
        code = process.wait()
        self.stop()
        if not in_time:
            raise DocumentError(
                f"editing it took longer than {seconds:g} s (documents.timeout_seconds and page_seconds): it was"
                " stopped"
            )
        raise DocumentError(f"the process that edited it died (exit code {code}); it may need more memory")

    def _started(self) -> subprocess.Popen[bytes]:
        """A process that waits for its first line."""
        environment = dict(os.environ)
        paths = [str(_PACKAGE_PARENT), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        environment["OMP_NUM_THREADS"] = environment["OPENBLAS_NUM_THREADS"] = "1"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self._process

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process = None
