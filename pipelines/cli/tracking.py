"""The MLflow runs of `visor eval`, opened before an episode is paid for and closed as the command ends, and of
`visor compare`.

What was paid for is never lost to a tracker: where the result cannot be logged, it is kept, and a line says so.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_defs.machinery.links import MLFLOW, links_address
from pipelines.cli.session import console, errors
from visor_core.config import Home, Profile
from visor_core.lineage.provenance import ROOT, commit_of
from visor_core.tracking import (
    COMPARISON,
    EVALUATION,
    KIND_TAG,
    commit_tags,
    configured,
    flat,
    model_of,
    page_of,
    project_name,
    run_link,
)

if TYPE_CHECKING:
    from visor_core.agent.trajectory import Trajectory
    from visor_core.evaluation.comparison import Comparison
    from visor_core.evaluation.results import BenchmarkResult
    from visor_core.index import PageIndex
    from visor_core.tracking import Tracker


@dataclass(frozen=True)
class EvaluationRun:
    """The run of an evaluation; without a tracker where the local store cannot be written."""

    tracker: Tracker | None
    run_id: str = ""
    page: str = ""

    def log(
        self, result: BenchmarkResult, episodes: Sequence[Trajectory], index: PageIndex, checkpoint: Path | None
    ) -> None:
        """Log the scored evaluation; a store that fails leaves a line, not an error: the result is on disk."""
        if self.tracker is None:
            return
        from visor_core.evaluation.tracked import track

        model_id = model_of(checkpoint) if checkpoint else ""
        try:
            track(self.tracker, self.run_id, result, episodes, index, model_id=model_id, kind=result.benchmark)
        except _refusals() as error:
            _warn("MLflow did not take all of it", error)
            return
        console.print(f"its run in MLflow: {self.page}", markup=False, soft_wrap=True)


@contextmanager
def evaluation_run(
    home: Home, profile: Profile, label: str, settings: Mapping[str, Any], dataset: tuple[str, str, str]
) -> Iterator[EvaluationRun]:
    """The run of an evaluation, for as long as it is played.

    Args:
        settings: what decides it, as parameters.
        dataset: name, digest and place of its questions.

    Raises:
        ConfigError: if a server that is configured does not answer.
    """
    from visor_core.tracking import Tracker

    uri = configured(profile.tracking.uri)
    tags = _tags(profile, EVALUATION, "visor eval")
    try:
        tracker = Tracker(home, project_name(profile.name), uri, profile.tracking.artifacts)
        tracker.reconcile()
        run_id = tracker.open_run(f"eval {label}", tags=tags)
        tracker.parameters(run_id, flat(settings))
        tracker.datasets(run_id, [dataset], "evaluation")
    except _refusals() as error:
        _warn("the evaluation is not tracked", error)
        yield EvaluationRun(None)
        return
    with tracker.ending(run_id):
        yield EvaluationRun(
            tracker,
            run_id,
            run_link(page_of(home, uri, local=f"{links_address(home)}/{MLFLOW}"), run_id) or f"run {run_id}",
        )


def track_comparison(home: Home, profile: Profile, comparison: Comparison, files: Sequence[Path]) -> None:
    """A run with the figures, the tests and the files of a comparison; a store that fails leaves a line.

    Raises:
        ConfigError: if a server that is configured does not answer.
    """
    from visor_core.evaluation.comparison_text import comparison_metrics
    from visor_core.tracking import Tracker

    uri = configured(profile.tracking.uri)
    try:
        tracker = Tracker(home, project_name(profile.name), uri, profile.tracking.artifacts)
        name = f"compare {' / '.join(comparison.labels)}"[:250]
        run_id = tracker.open_run(name, tags=_tags(profile, COMPARISON, "visor compare"))
        with tracker.ending(run_id):
            told = {"benchmark": comparison.benchmark, "protocol": comparison.protocol}
            tracker.parameters(run_id, {**told, **{f"result {n}": x for n, x in enumerate(comparison.labels)}})
            tracker.metrics(run_id, comparison_metrics(comparison))
            tracker.artifacts(run_id, files, "comparison")
    except _refusals() as error:
        _warn("the comparison is not tracked", error)
        return
    page = run_link(page_of(home, uri, local=f"{links_address(home)}/{MLFLOW}"), run_id) or f"run {run_id}"
    console.print(f"its run in MLflow: {page}", markup=False, soft_wrap=True)


def _tags(profile: Profile, kind: str, command: str) -> dict[str, str]:
    """What a run of a command says of itself."""
    return {
        KIND_TAG: kind,
        "profile": profile.name,
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": command,
        **commit_tags(**commit_of(ROOT)),
    }


def log_protocols(home: Home, path: Path, result: BenchmarkResult) -> None:
    """Add the figures of protocols that were asked later to the run of an evaluation, where it has one.

    Args:
        path: the result's file.

    Raises:
        ConfigError: if a server that is configured does not answer.
    """
    from pipelines.evaluation_lineage import kept_lineages
    from visor_core.evaluation.verdicts import protocol_metrics
    from visor_core.tracking import Tracker

    told = kept_lineages(home).get(path.resolve(), {})
    run_id = told.get("mlflow", {}).get("run", "")
    if not run_id:
        return
    tracking = told["configuration"]["tracking"]
    try:
        tracker = Tracker(home, project_name(told["profile"]), configured(tracking["uri"]), tracking["artifacts"])
        tracker.metrics(run_id, protocol_metrics(result))
    except _refusals() as error:
        _warn("MLflow did not take the figures of the judge", error)


def _refusals() -> tuple[type[Exception], ...]:
    """What a store fails with: its disk, its database, its server."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, requests.RequestException, OSError


def _warn(what: str, error: Exception) -> None:
    reason = " ".join(str(error).split())[:200]
    errors.print(f"warning: {what}: {reason}", style="yellow", markup=False, soft_wrap=True)
