"""MLflow as a resource of the assets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets_defs.machinery.links import REPORT, dagster_run_page
from visor_core.config import Home

if TYPE_CHECKING:
    from assets_defs.machinery.workspace import Work


class Tracking(dg.ConfigurableResource[Any]):
    """MLflow, as a thin resource: opens the run that a worker continues by its id."""

    home: str
    experiment: str = "visor"
    page: str = ""
    """Where MLflow's page is looked at; links lead there."""
    dagster_page: str = ""
    """Where Dagster's page is looked at."""

    def tracker(self) -> Any:
        """The project's tracker; importing MLflow happens here."""
        from visor_core.tracking import Tracker

        return Tracker(Home(Path(self.home)), self.experiment)

    def open_run(self, work: Work, dagster_run_id: str) -> str:
        """The MLflow run of a build: the one it started with, if it was interrupted."""
        tags = {
            "stage": str(work.node),
            "fingerprint": work.fingerprint,
            "code_version": work.stage.version,
            "profile": work.profile.name,
            "dagster_run_id": dagster_run_id,
            # MLflow's page shows this one as text with links.
            "mlflow.note.content": _note(work, self.dagster_page, dagster_run_id),
        }
        settings = {"seed": work.profile.seed, **work.stage.settings(work.profile, work.node.partition)}
        run_id: str = self.tracker().open_stage(work.folder, str(work.node), tags=tags, settings=settings)
        return run_id

    def close_run(self, run_id: str, *, failed: bool) -> None:
        """Finish the run."""
        self.tracker().close_run(run_id, failed=failed)


def _note(work: Work, dagster_page: str, dagster_run_id: str) -> str:
    """What the page of an MLflow run says of it, as markdown: where it came from and where its files are."""
    asset = f"{dagster_page}/assets/{work.node.stage}"
    return "\n".join(
        [
            f"Asset [{work.node}]({asset}), made by [the Dagster run {dagster_run_id[:8]}]"
            f"({dagster_run_page(dagster_page, dagster_run_id)}).",
            "",
            f"- files: `{work.folder}`",
            f"- report of the home: `{work.home.reports / REPORT}`",
            "- sample episodes: the artifacts under `samples`",
        ]
    )
