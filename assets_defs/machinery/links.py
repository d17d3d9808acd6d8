"""Where the same work is seen elsewhere: from an asset to its MLflow run, log and report, and back to Dagster."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from visor_core.config import Home
from visor_core.tracking import RUN_FILE, run_link

WORKER_LOG = "worker.log"
"""In a build's folder: what its process wrote."""
REPORT = "report.html"
"""In the folder of reports: everything in force on one page."""
WRITES_REPORT = "`visor report` writes it"


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
        found["log"] = dg.MetadataValue.path(build / WORKER_LOG)
    report = home.reports / REPORT
    found["report"] = dg.MetadataValue.path(report) if report.is_file() else dg.MetadataValue.md(WRITES_REPORT)
    return found
