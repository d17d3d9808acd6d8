"""A finished build logged to MLflow once more, from its folder: where the store that knew its run is gone.

What the worker logged as it went is all in the build: its curves, its checkpoints, its evaluations and their episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_defs.machinery.builds import Record
from assets_defs.machinery.pictures import SAMPLES
from assets_defs.machinery.progress import read_metrics
from assets_defs.machinery.workspace import Work
from visor_core.config import Home
from visor_core.tracking import MODEL_FILE, RUN_FILE, knows_run, logged_model
from visor_core.tracking.values import TIME

if TYPE_CHECKING:
    from visor_core.tracking import Tracker


def is_logged(home: Home, record: Record, uri: str = "") -> bool:
    """Whether MLflow knows the run of a build, as far as the build has one; a local store is asked without MLflow.

    Args:
        uri: where runs are kept, as `Tracking.uri`.
    """
    path = record.build_folder(home) / RUN_FILE
    return not path.is_file() or knows_run(home, path.read_text(encoding="utf-8").strip(), uri)


def relog(work: Work) -> None:
    """Log a finished build again if MLflow does not know its run: figures, curves, models, evaluations and traces."""
    record = work.record
    if is_logged(work.home, record, work.tracking.uri):
        return
    work.context.log.info(f"MLflow does not know the run of {work.node}: it is logged again from {work.folder}")
    ended = int(datetime.fromisoformat(record.created).timestamp() * 1000)
    started = ended - int(record.seconds * 1000)
    with work.tracking.run(work, started=started, ended=ended) as run_id:
        tracker = work.tracking.tracker()
        tracker.client.set_tag(run_id, "visor.logged_again", "from the build")
        tracker.training_history(run_id, read_metrics(work.folder))
        tracker.metrics(run_id, {f"final/{name}": value for name, value in record.figures.items()})
        tracker.artifacts(run_id, (path for path in [work.folder / "curves.png"] if path.is_file()))
        samples = sorted(path for path in (work.folder / SAMPLES).glob("*") if path.is_file())
        tracker.artifacts(run_id, samples, SAMPLES)
        if (work.folder / MODEL_FILE).is_file():
            _log_models(work, tracker, run_id, record, samples)
        _log_evaluations(work, tracker, run_id, record)


def _log_models(work: Work, tracker: Tracker, run_id: str, record: Record, samples: list[Path]) -> None:
    """Every checkpoint that training kept, and the finished one."""
    tags = {"stage": work.node.stage, "build": work.fingerprint, "seed": str(record.seed), **_inputs(work)}
    rows = {int(row["step"]): row for row in _steps(work) if "step" in row}
    for folder in sorted(work.folder.glob("checkpoint-*"), key=_step_of):
        step = _step_of(folder)
        if any(folder.glob("*.safetensors")):
            name = f"{work.node.stage}-{step}"
            tracker.checkpoint(run_id, name, folder, step=step, metrics=rows.get(step, {}), tags=tags)
    step = int(record.figures.get("steps", 0))
    model = tracker.checkpoint(
        run_id,
        f"{work.node.stage}-{step}",
        record.folder(work.home),
        step=step,
        metrics=record.figures,
        tags=tags,
        samples=samples,
    )
    (work.folder / MODEL_FILE).write_text(model, encoding="utf-8")


def _steps(work: Work) -> list[dict[str, Any]]:
    """What was reported of each step, without when it was: the figures of a checkpoint."""
    return [{key: value for key, value in row.items() if key != TIME} for row in read_metrics(work.folder)]


def _step_of(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else 0


def _inputs(work: Work) -> Mapping[str, str]:
    return {f"input.{need}": work.input(need.stage, need.partition).path for need in work.inputs}


def _log_evaluations(work: Work, tracker: Tracker, run_id: str, record: Record) -> None:
    """The evaluations of a build, with their tables and traces."""
    from visor_core.evaluation.results import read_result
    from visor_core.evaluation.tracked import kind_of, track
    from visor_core.index import PageIndex
    from visor_core.policies.identity import digest_of
    from visor_core.trajectories.store import read_trajectories

    results = sorted((work.folder / "results").glob("*.json"))
    if not results:
        return
    corpus = work.profile.corpora.development
    index = PageIndex.under(work.input("page_index", corpus).folder(work.home), record.index_tag, work.profile)
    for path in results:
        result = read_result(path)
        # In the build, or beside the builds of a stage whose next build may find them again.
        stores = [folder / "episodes" / digest_of(result.identity) for folder in (work.folder, work.folder.parent)]
        kept = [t for store in stores if (store / "segments").is_dir() for t in read_trajectories(store)]
        held = {t.trajectory_id: t for t in kept}
        episodes = [held[row.trajectory_id] for row in result.episodes if row.trajectory_id in held]
        upstream = {need.stage for need in work.inputs}
        played = work.input(result.policy).build_folder(work.home) if result.policy in upstream else None
        model = logged_model(played) if played else ""
        name = path.stem
        track(tracker, run_id, result, episodes, index, name=name, model_id=model, kind=kind_of(name))
    index.close()
