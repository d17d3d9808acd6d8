"""Faults that pass by themselves: an asset that meets one is tried again, and one that meets another fault is not.

An outage of the network, a server that is busy or starting, a full queue and a locked database pass. What a user has to
mend does not (`VisorError`), nor does a defect.
"""

from __future__ import annotations

import queue
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from visor_core.errors import UnreachableError, VisorError

RETRIES = 3
WAIT_SECONDS = 20.0
"""Between two tries."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses of a server that is busy, starting or being mended."""
_OUTAGES = {"httpx": ("TransportError",), "requests": ("ConnectionError", "Timeout"), "botocore.exceptions": (
    "ConnectionError", "HTTPClientError")}  # fmt: skip
"""Exceptions of libraries that do not derive from Python's own, looked for where the library is loaded."""


def is_transient(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, passes by itself.

    >>> is_transient(ConnectionResetError()), is_transient(ValueError())
    (True, False)
    """
    while error is not None:
        if isinstance(error, VisorError):
            return isinstance(error, UnreachableError)
        if isinstance(error, (ConnectionError, TimeoutError, queue.Full, *_outages())):
            return True
        if isinstance(error, sqlite3.OperationalError) and any(word in str(error) for word in ("locked", "busy")):
            return True
        if _status(error) in _PASSING:
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def _outages() -> tuple[type[BaseException], ...]:
    loaded = ((sys.modules.get(module), names) for module, names in _OUTAGES.items())
    return tuple(getattr(module, name) for module, names in loaded if module is not None for name in names)


def _status(error: BaseException) -> int:
    """The HTTP status that an error of httpx, requests or MLflow carries; 0 for none."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None and type(error).__name__ == "RestException":  # MLflow's, of what a server answered
        status = error.get_http_status_code()  # type: ignore[attr-defined]
    return status if isinstance(status, int) else 0


@contextmanager
def transient_faults_are_retried() -> Iterator[None]:
    """Ask Dagster to try the step again, `RETRIES` times at most, where a fault of the block passes by itself.

    Raises:
        dg.RetryRequested: from that fault.
    """
    import dagster as dg

    try:
        yield
    except Exception as error:
        if is_transient(error):
            raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=WAIT_SECONDS) from error
        raise
