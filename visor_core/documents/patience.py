"""Calls with a time limit into libraries that have none of their own: one that is overdue is left behind.

The calls of one `Patience` run in one thread, because libraries keep a connection a thread. A call that takes too long
keeps its thread, which ends with it or with the process, and the next call gets another.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")


class OverdueError(Exception):
    """A call that was not done in time."""


class _Call:
    """A function, and what became of it: its result, or the error that the block around it ended with."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def __enter__(self) -> _Call:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error  # raised where the call was made
        self.done.set()
        return True


_Calls = SimpleQueue[_Call | None]


class Patience:
    """Makes calls, one at a time. Its thread ends with the `with` block, or when it is no longer referred to."""

    def __init__(self) -> None:
        self._calls: _Calls | None = None

    def __enter__(self) -> Patience:
        return self

    def __exit__(self, *error: object) -> None:
        self._dismiss()

    def _dismiss(self) -> None:
        """Let the thread end after its call; the next call gets another."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None

    def call(self, function: Callable[[], _T], seconds: float) -> _T:
        """What a function returns or raises.

        Raises:
            OverdueError: if it has not returned after so many seconds; it goes on nevertheless.
        """
        if self._calls is None:
            self._calls = SimpleQueue()
            threading.Thread(target=_serve, args=(self._calls,), name="patience", daemon=True).start()
            weakref.finalize(self, self._calls.put, None)
        call = _Call(function)
        self._calls.put(call)
        in_time = False
        try:
            in_time = call.done.wait(max(0.0, seconds))
        finally:
            if not in_time:
                self._dismiss()
        if not in_time:
            raise OverdueError
        if call.error is None:
            return call.result  # type: ignore[no-any-return]
        try:
            raise call.error
        finally:
            del call  # the error's traceback holds this frame


def _serve(calls: _Calls) -> None:
    while (call := calls.get()) is not None:
        with call:
            call.result = call.function()
        del call
