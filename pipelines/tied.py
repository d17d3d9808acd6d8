"""A process that ends with the one that started it, however that went: `python -m pipelines.tied PID MODULE ARGUMENT…`.

`--after FILE` in front waits for a file before the module runs, with what it imports loaded meanwhile: a webserver
that needs the socket of a code server gets ready while that one loads.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

INTERVAL = 0.5
"""Seconds between two looks."""
LAST_SECONDS = 2.0
"""How long a worker whose run was killed may take to say so to MLflow."""


def die_with(parent: int, before: Callable[[], None] | None = None) -> None:
    """End this process when another one is gone: two trainers must not share a folder, no server outlives its owner.

    Args:
        before: what is still done then, for `LAST_SECONDS` at most.
    """
    own = os.getppid() == parent

    def gone() -> bool:
        if own:  # also of a parent that has ended and is not waited for
            return os.getppid() != parent
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            return True
        return False

    def watch() -> None:
        while not gone():
            time.sleep(INTERVAL)
        if before:
            last = threading.Thread(target=before, daemon=True)
            last.start()
            last.join(LAST_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Run a module as `python -m` would, tied to another process."""
    arguments = sys.argv[1:]
    if not arguments or (arguments[0] == "--after" and len(arguments) < 2):
        raise SystemExit(__doc__)
    after = Path(arguments[1]) if arguments[0] == "--after" else None
    parent, module, *rest = arguments[2:] if after else arguments
    die_with(int(parent))
    if after is not None:
        importlib.import_module(f"{module}.app")
        while not after.exists():
            time.sleep(0.05)
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
