"""Beside a `visor run` for as long as it lives: `python -m pipelines.host SESSION [--serve]`, one JSON line at a time.

With `--serve` it keeps Dagster's services up and says their address; without, the run has joined those of a
`visor ui`. Either way it notices when the `visor run` ends, by the end of its standard input, and ends the runs that it
left behind: a `kill -9` leaves neither a server nor a run.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path

from pipelines.choice import choice_from
from pipelines.services import Services, free_port
from visor_core.config import Home
from visor_core.errors import VisorError

TICK = 0.2


def main() -> None:
    """Keep the services up until standard input ends."""
    session, serves = sys.argv[1], "--serve" in sys.argv
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # its end is that of the `visor run`, which tells it what to leave alone
    home = Home(Path(os.environ["VISOR_HOME"]))
    services = Services(home, choice_from(os.environ), port=free_port(), page=False) if serves else None
    told = b""
    try:
        if services is not None:
            services.start()
        said = services is None
        while True:
            if services is not None:
                services.keep_up()
                if not said and services.ready():
                    print(json.dumps({"address": services.address}), flush=True)
                    said = True
            if select.select([sys.stdin], [], [], TICK)[0]:
                told = os.read(sys.stdin.fileno(), 100) or told
                break
    except VisorError as error:
        print(json.dumps({"error": str(error)}), flush=True)
    finally:
        if services is not None:
            services.daemon.stop()  # it launches nothing more
        if b"done" not in told:
            _end_runs(home, session)
        if services is not None:
            services.stop()


def _end_runs(home: Home, session: str) -> None:
    """End what a `visor run` that went without a word has left."""
    from pipelines.instance import open_instance
    from pipelines.launcher import stop_runs

    with open_instance(home) as instance:
        stop_runs(instance, session=session, seconds=10.0, say=lambda text: None)


if __name__ == "__main__":
    main()
