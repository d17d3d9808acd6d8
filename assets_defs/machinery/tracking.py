"""MLflow as a resource of the assets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from visor_core.config import Home

if TYPE_CHECKING:
    from assets_defs.machinery.workspace import Work


class Tracking(dg.ConfigurableResource[Any]):
    """MLflow, as a thin resource: opens the run that a worker continues by its id."""

    home: str
    experiment: str = "visor"

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
        }
        settings = {"seed": work.profile.seed, **work.stage.settings(work.profile, work.node.partition)}
        run_id: str = self.tracker().open_stage(work.folder, str(work.node), tags=tags, settings=settings)
        return run_id

    def close_run(self, run_id: str, *, failed: bool) -> None:
        """Finish the run."""
        self.tracker().close_run(run_id, failed=failed)
