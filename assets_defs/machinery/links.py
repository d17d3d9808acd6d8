"""Where the same work is seen elsewhere: from an asset to its MLflow run, log and report, and back to Dagster.

What is recorded once has to lead there for ever: links name one port that belongs to the home, and say what is meant,
not where it is served. An open `visor ui` answers there (`pipelines.doorway`), and knows the ports of its pages.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from urllib.parse import quote

import dagster as dg

from visor_core.config import Home
from visor_core.files import write_json
from visor_core.tracking import RUN_FILE, run_link

WORKER_LOG = "worker.log"
"""In a build's folder: what its process wrote."""
REPORT = "report.html"
"""In the folder of reports: everything in force on one page."""
WRITES_REPORT = "`visor report` writes it"
ADDRESS = "127.0.0.1"
USUAL_PORT = 3001
"""Where links of a home lead, unless another program had the port when the home was begun."""
DAGSTER, MLFLOW, FILES = "dagster", "mlflow", "files"
"""What the first part of a link's path means: the two pages, and files of the home."""


def links_file(home: Home) -> Path:
    """Where a home keeps the port of its links."""
    return home.root / "links.json"


def links_port(home: Home) -> int:
    """The port of a home's links; the usual one for a home that keeps none yet."""
    try:
        return int(json.loads(links_file(home).read_text(encoding="utf-8"))["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return USUAL_PORT


def begin_links(home: Home) -> None:
    """Let a home that keeps no port for its links keep one: the usual one, or another where a program has that now.

    Raises:
        OSError: if the home cannot be written.
    """
    if not links_file(home).is_file():
        keep_links_port(home, _free(USUAL_PORT) or _free(0))


def keep_links_port(home: Home, port: int) -> None:
    """Links lead to this port from now on.

    Raises:
        OSError: if the home cannot be written.
    """
    write_json(links_file(home), {"port": port})


def _free(port: int) -> int:
    """The port, or any free one for 0; 0 if it is taken."""
    with socket.socket() as probe:
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


def links_address(home: Home) -> str:
    """The address that all links of a home begin with."""
    return f"http://{ADDRESS}:{links_port(home)}"


def file_link(home: Home, path: Path) -> str:
    """The link to a file of a home."""
    return f"{links_address(home)}/{FILES}/{quote(path.relative_to(home.root).as_posix())}"


def home_of_build(folder: Path) -> Home:
    """The home that a build folder lies in."""
    return next(Home(parent.parent) for parent in folder.parents if parent.name == "assets")


def dagster_run_page(page: str, run_id: str) -> str:
    """The address of a run on Dagster's page."""
    return f"{page}/runs/{run_id}"


def links_of(build: Path, home: Home, mlflow_page: str) -> dict[str, dg.MetadataValue]:
    """Links of a build for its metadata, as far as there is something to lead to.

    Args:
        build: the folder of the build.
        mlflow_page: address of MLflow's page; empty leaves its link out.
    """
    found: dict[str, dg.MetadataValue] = {}
    run = build / RUN_FILE
    if mlflow_page and run.is_file():
        run_id = run.read_text(encoding="utf-8").strip()
        found["mlflow_run"] = dg.MetadataValue.url(run_link(mlflow_page, run_id))
        found["log"] = dg.MetadataValue.url(file_link(home, build / WORKER_LOG))
    report = home.reports / REPORT
    found["report"] = (
        dg.MetadataValue.url(file_link(home, report)) if report.is_file() else dg.MetadataValue.md(WRITES_REPORT)
    )
    return found
