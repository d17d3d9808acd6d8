"""MLflow as a resource of the assets: a run for each Dagster run, and below it one for each stage that is tracked."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import PrivateAttr

from assets_defs.machinery.links import REPORT, dagster_run_page
from visor_core.config import Home, Profile
from visor_core.lineage.provenance import ROOT, commit_of
from visor_core.tracking import KIND_TAG, PAGE, STAGE, commit_tags, configured, page_of, project_name

if TYPE_CHECKING:
    from assets_defs.machinery.workspace import Work
    from visor_core.tracking import Tracker

EVALUATING = ("benchmark_results", "champion_model", "study_figures")
"""Stages that read their inputs to measure, not to train."""


class Tracking(dg.ConfigurableResource[Any]):
    """MLflow, as a thin resource. `uri` is a reference where the address may hold a secret: the page shows it."""

    home: str
    experiment: str = "visor"
    uri: str = ""
    artifacts: str = ""
    page: str = ""
    """Where MLflow's page is looked at; links lead there."""
    dagster_page: str = ""
    """Where Dagster's page is looked at."""
    _tracker: Any = PrivateAttr(default=None)
    _opened: set[str] = PrivateAttr(default_factory=set)

    @classmethod
    def of(cls, home: Home, profile: Profile, *, page: str = PAGE, dagster_page: str = "") -> Tracking:
        """Where the runs of a profile go, by its settings or by the environment.

        Args:
            page: where a local store is looked at; a server shows its own.
        """
        uri = configured(profile.tracking.uri)
        return cls(
            home=str(home.root),
            experiment=project_name(profile.name),
            uri=uri,
            artifacts=profile.tracking.artifacts,
            page=page_of(home, uri, local=page),
            dagster_page=dagster_page,
        )

    def tracker(self) -> Tracker:
        """The profile's tracker; importing MLflow happens here."""
        from visor_core.tracking import Tracker

        if self._tracker is None:
            self._tracker = Tracker(Home(Path(self.home)), self.experiment, self.uri, self.artifacts)
            self._tracker.reconcile()
        tracker: Tracker = self._tracker
        return tracker

    def open_run(self, work: Work, dagster_run_id: str, *, started: int = 0) -> str:
        """The MLflow run of a build, below that of its Dagster run: the one it started with, if it was interrupted.

        Args:
            started: when it began, if that is past, in milliseconds since the epoch.
        """
        tracker, profile = self.tracker(), work.profile
        run_tags = dict(work.context.run.tags) if dagster_run_id else {}
        shared = {
            "profile": profile.name,
            "mlflow.user": getpass.getuser(),
            **commit_tags(**commit_of(ROOT)),
            **({"visor.session": run_tags["visor/session"]} if "visor/session" in run_tags else {}),
        }
        self._opened.add(dagster_run_id)
        parent = tracker.open_parent(dagster_run_id, tags=shared, settings=profile.model_dump(mode="json"))
        build = work.folder.relative_to(work.home.root).as_posix()
        tags = {
            **shared,
            KIND_TAG: STAGE,
            "stage": str(work.node),
            "fingerprint": work.fingerprint,
            "code_version": work.stage.version,
            "build": build,
            "dagster_run_id": dagster_run_id,
            "mlflow.source.name": f"assets_defs/{work.node.stage}.py",
            # MLflow's page shows this one as text with links.
            "mlflow.note.content": _note(work, self.dagster_page, dagster_run_id),
        }
        settings = {"seed": profile.seed, **work.stage.settings(profile, work.node.partition)}
        name = f"{work.node} {work.fingerprint[:8]}"
        run_id = tracker.open_stage(work.folder, name, tags=tags, settings=settings, parent=parent, started=started)
        read = [(str(need), work.input(need.stage, need.partition)) for need in work.inputs]
        tracker.datasets(
            run_id,
            [(name, record.data_version, record.path) for name, record in read],
            "evaluation" if work.node.stage in EVALUATING else "training",
        )
        return run_id

    @contextmanager
    def run(self, work: Work, *, started: int = 0, ended: int = 0) -> Iterator[str]:
        """The MLflow run of a build for as long as the work takes; stopped, it ends as killed, not as failed.

        Args:
            started, ended: when the work was done, if that is past, in milliseconds since the epoch.
        """
        run_id = self.open_run(work, work.context.run.run_id, started=started)
        with self.tracker().ending(run_id, ended=ended):
            yield run_id

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """End the runs of the Dagster runs that this process has opened, as they ended."""
        while self._opened:
            dagster_run_id = self._opened.pop()
            instance = context.instance
            run = instance.get_run_by_id(dagster_run_id) if instance else None
            failures = instance.all_logs(dagster_run_id, of_type=dg.DagsterEventType.STEP_FAILURE) if instance else []
            if run is not None and run.status in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED):
                self.tracker().close_parent(dagster_run_id, killed=True)
            else:
                self.tracker().close_parent(dagster_run_id, failed=bool(failures))


def _note(work: Work, dagster_page: str, dagster_run_id: str) -> str:
    """What the page of an MLflow run says of it, as markdown: where it came from and where its files are."""
    asset = f"{dagster_page}/assets/{work.node.stage}"
    return "\n".join(
        [
            f"Asset [{work.node}]({asset}), made by [the Dagster run {dagster_run_id[:8]}]"
            f"({dagster_run_page(dagster_page, dagster_run_id)}).",
            "",
            f"- files: `{work.folder.relative_to(work.home.root)}` under VISOR_HOME",
            f"- report of the home: `{(work.home.reports / REPORT).relative_to(work.home.root)}`",
            "- sample episodes: the artifacts under `samples`",
        ]
    )
