"""Dagster's page and MLflow's, together on this machine alone (127.0.0.1), until interrupted.

Where runs go to a server, its own page is named and none is started.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from types import FrameType

from assets_defs.machinery.links import DAGSTER, MLFLOW, keep_links_port, links_port
from pipelines.choice import Choice
from pipelines.doorway import Doorway
from pipelines.engine import Page, page_file, write_page
from pipelines.instance import open_instance, place_instance, place_partitions, prepare_process
from pipelines.launcher import reconcile, stop_runs
from pipelines.services import ADDRESS, Service, Services, answers
from pipelines.sessions import new_session
from visor_core.config import Home
from visor_core.errors import ConfigError
from visor_core.tracking import Tracker, configured, page_of, project_name, tracking_uri

START_SECONDS = 120.0
TICK = 0.5


def mlflow_service(home: Home, port: int) -> Service:
    """MLflow's page over the store of this home."""
    command = [
        *(sys.executable, "-m", "pipelines.tied", str(os.getpid()), "mlflow", "server"),
        *("--backend-store-uri", tracking_uri(home)),
        *("--artifacts-destination", (home.mlflow / "artifacts").as_uri()),
        *("--host", ADDRESS, "--port", str(port), "--workers", "1"),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Service("mlflow", command, home.root / "logs" / "mlflow.log", environment)


def _open_doorway(home: Home, pages: Mapping[str, str]) -> Doorway | None:
    """Where the links of this home lead; None, with a word, where another program has their port."""
    port = links_port(home)
    try:
        return Doorway(home, port, {name: page for name, page in pages.items() if page})
    except OSError as error:
        reason = error.strerror or str(error)
        say(
            f"note: the links of {home.root} to runs and reports lead to port {port}, which cannot be had ({reason}):"
            " close what listens there, or --links-port PORT gives what is built from now on another"
        )
        return None


def _require_free(wanted: Mapping[str, int]) -> None:
    """Ports by the options that name them can be had, each for one page.

    Raises:
        ConfigError: naming the option.
    """
    if len(set(wanted.values())) < len(wanted):
        raise ConfigError(f"{' and '.join(wanted)} are not all different: give each its own port")
    for name, port in wanted.items():
        if not 1 <= port <= 65535:
            raise ConfigError(f"{name} {port} is no port: choose one from 1 to 65535")
        if answers(port):
            raise ConfigError(f"{name} {port} is taken on {ADDRESS}: stop what listens there or choose another port")


def serve(
    home: Home, choice: Choice, *, dagster_port: int = 3000, mlflow_port: int = 5000, new_links_port: int = 0
) -> None:
    """Start the pages, say where they are, and wait; everything started is stopped on the way out, runs included.

    What ends unasked meanwhile is started again.

    Args:
        choice: what is materialized from the page.
        new_links_port: where links of what is built from now on lead; 0 leaves that.

    Raises:
        ConfigError: if a port is none or is taken, or a server does not answer or stay up; its log is named.
    """
    profile = choice.resolve()
    elsewhere = configured(profile.tracking.uri)
    wanted = {"--dagster-port": dagster_port} | ({} if elsewhere else {"--mlflow-port": mlflow_port})
    _require_free(wanted | ({"--links-port": new_links_port} if new_links_port else {}))
    prepare_process()
    if new_links_port:
        keep_links_port(home, new_links_port)
    place_instance(home)
    with open_instance(home) as instance:
        for run_id in reconcile(instance):
            say(f"run {run_id[:8]} had ended without a word: it is marked so now")
        place_partitions(instance, home, profile)
    # Made here, so that the page does not show a migration error; a server that does not answer is told of here.
    Tracker(home, project_name(profile.name), elsewhere, profile.tracking.artifacts).reconcile()
    mlflow_page = page_of(home, elsewhere, local=f"http://{ADDRESS}:{mlflow_port}")
    _end_as_by_hand()
    services = Services(home, choice, port=dagster_port, page=True)
    mlflow = None if elsewhere else mlflow_service(home, mlflow_port)
    doorway = _open_doorway(home, {DAGSTER: services.address, MLFLOW: mlflow_page})
    try:
        if mlflow:
            mlflow.start()
        services.start()
        if mlflow:
            _await(mlflow, mlflow_port, services)
        say(f"{'mlflow':<8} {mlflow_page or 'a database without a page'}")
        _await(services.web, dagster_port, services)
        write_page(home, Page(services.address, new_session(), choice))
        say(f"{'dagster':<8} {services.address}")
        say("Ctrl-C ends both, and the runs they have started.")
        while True:
            services.keep_up()
            if mlflow:
                mlflow.keep_up()
            time.sleep(TICK)
    finally:
        if doorway is not None:
            doorway.close()
        page_file(home).unlink(missing_ok=True)
        with open_instance(home) as instance:
            stop_runs(instance, say=say)
        services.stop()
        if mlflow:
            mlflow.stop()


def _end_as_by_hand() -> None:
    """A request to end, and a terminal that is closed, do what Ctrl-C does."""
    # A shell that starts this in the background ignores SIGINT for it; who started it by nohup means it to stay.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)


def say(line: str) -> None:
    """Tell whoever started this, for as long as anybody listens: runs are ended whether or not it can be said."""
    try:
        print(line, flush=True)
    except OSError:  # closed; so that nothing more is written there: https://docs.python.org/3/library/signal.html
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _await(service: Service, port: int, services: Services) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(port):
        if time.monotonic() > deadline:
            raise ConfigError(f"{service.name} does not answer on port {port}, see {service.log}")
        services.keep_up()
        service.keep_up()
        time.sleep(0.3)
