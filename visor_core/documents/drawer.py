"""Parts of pages drawn in a worker process with a time and a memory limit: a crash or a hang costs one picture.

One worker serves all of this Python process, because starting one takes longer than a thousand small pictures; it is
started when first needed and ends with the process. Leaves out: several workers, so one picture is drawn at a time.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import pickle
import select
import threading
import time
from collections import deque

from visor_core.documents.drawings import Drawing
from visor_core.documents.pool import Worker, start_worker
from visor_core.documents.worker import KEPT_BYTES
from visor_core.errors import DocumentError

_SLICE = 1.0
"""Seconds. Time is counted in slices of at most this, so that a process that was stopped and continued does not take
its worker, stopped as well, for one that hangs."""


_LONGEST_REASON = 2**16
"""Bytes."""


class Drawer:
    """A worker process that draws. Safe for threads; a forked process starts a worker of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._owners = itertools.count()
        self._retired: deque[int] = deque()

    def owner(self) -> int:
        """A number under which documents are kept open, until it is retired."""
        return next(self._owners)

    def retire(self, owner: int) -> None:
        """Let the worker close the documents of an owner with its next picture. Takes no lock: finalizers call it."""
        self._retired.append(owner)

    def pixels(self, drawing: Drawing, seconds: float) -> bytes:
        """The pixels of a picture, RGB, row by row.

        Raises:
            DocumentError: if it cannot be drawn: its document's fault, over `seconds`, or the worker died of it.
        """
        with self._lock:
            if retired := tuple(self._retired.popleft() for _ in range(len(self._retired))):
                drawing = drawing._replace(retired=retired)
            if self._worker is not None:
                try:
                    return self._draw(self._worker, drawing, seconds)
                except (EOFError, OSError):
                    # It died while idle, or of what it held before: alone the picture decides for itself.
                    self._buried(drawing)
            self._worker = start_worker()
            try:
                return self._draw(self._worker, drawing, seconds)
            except (EOFError, OSError):
                raise drawing.undone(self._buried(drawing)) from None

    def close(self) -> None:
        """End the worker; the next picture starts another."""
        if (worker := self._worker) is not None:
            worker.process.kill()  # whoever waits for it now waits no longer
        with self._lock:
            self._stop()

    def abandon(self) -> None:
        """Leave the worker to the process this one was forked from; only one thread is alive."""
        self._lock = threading.Lock()
        if self._worker is not None:
            self._worker.process.returncode = 0  # it is no child of this process, which must not wait for it
            self._worker.close()
            self._worker = None

    def _draw(self, worker: Worker, drawing: Drawing, seconds: float) -> bytes:
        try:
            pixels = _answer(worker, drawing, seconds)
        except (DocumentError, EOFError, OSError):
            raise
        except BaseException:
            self._stop()  # its answer would be taken for that to the next drawing
            raise
        if pixels is None:
            self._stop()
            raise drawing.undone(f"it took longer than documents.picture_seconds = {seconds:g}: it was stopped")
        return pixels

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _buried(self, drawing: Drawing) -> str:
        """Remove a worker that died, and say of what."""
        worker, self._worker = self._worker, None
        assert worker is not None
        return worker.cause_of_death(drawing.memory_bytes)


def _answer(worker: Worker, drawing: Drawing, seconds: float) -> bytes | None:
    """The pixels of a picture; None if it is not ready in time.

    Raises:
        DocumentError: why it cannot be drawn.
        EOFError, OSError: if the worker is dead.
    """
    worker.connection.send_bytes(pickle.dumps(tuple(drawing)))
    ready = select.poll()
    ready.register(worker.connection.fileno(), select.POLLIN)
    while seconds > 0.0:
        began = time.monotonic()
        if ready.poll(1e3 * min(_SLICE, seconds)):
            if reason := worker.connection.recv_bytes(_LONGEST_REASON):
                raise DocumentError(reason.decode(errors="replace"))
            size = 3 * drawing.width * drawing.height
            pixels = os.pread(worker.shared, size, 0)
            if size > KEPT_BYTES:
                os.ftruncate(worker.shared, 0)
            return pixels
        seconds -= min(_SLICE, time.monotonic() - began)
    return None


@functools.cache
def shared_drawer() -> Drawer:
    """The drawer of this process."""
    drawer = Drawer()
    atexit.register(drawer.close)
    os.register_at_fork(after_in_child=drawer.abandon)
    return drawer
