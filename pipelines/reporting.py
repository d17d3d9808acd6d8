"""What `visor report` shows of a VISOR_HOME: the stages in force, evaluations, training curves and sample episodes.

Reads records, metrics and trajectories that the stages left behind; computes nothing new.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from assets_defs.machinery.builds import Record, records_in_force
from assets_defs.machinery.graph import stages
from assets_defs.machinery.progress import read_metrics
from visor_core.agent.trajectory import Trajectory
from visor_core.config import DocumentsConfig, Home
from visor_core.config.policies import REINFORCED
from visor_core.errors import DataError, SearchIndexError
from visor_core.evaluation.charts import Series
from visor_core.evaluation.report import Curve, Report, SampleEpisode, Stage
from visor_core.evaluation.results import BenchmarkResult, read_result
from visor_core.scoring.answers import answer_score
from visor_core.tracking import meaningful
from visor_core.training.curves import CURVES

SAMPLES = 3
POINTS = 400


def gather_report(home: Home, documents: DocumentsConfig | None = None) -> Report:
    """The report of everything in force.

    Args:
        documents: limits, and passwords of encrypted documents, for the pictures of the sample episodes.

    Raises:
        DataError: if nothing was made or evaluated yet.
    """
    records = find_records(home)
    results = find_results(home, records)
    if not records and not results:
        raise DataError(f"nothing to report under {home.root} yet: `visor run` or `visor eval` first")
    episodes, unreadable = kept_episodes(home)
    newest = max((record.created for record in records), default="")
    return Report(
        title="VISOR",
        subtitle=f"{home.root}{', last stage ' + newest if newest else ''}",
        stages=[Stage(_name(r), r.seconds, _figures(r)) for r in records],
        results=results,
        curves=[curve for record in records for curve in curves_of(home, record)],
        episodes=sample_episodes(home, episodes, documents),
        notes=[*_notes(records), *unreadable],
    )


def find_records(home: Home) -> list[Record]:
    """The records in force, stages in graph order, partitions by name."""
    order = {name: number for number, name in enumerate(stages())}
    return sorted(records_in_force(home), key=lambda r: (order.get(r.stage, len(order)), r.partition))


def find_results(home: Home, records: Iterable[Record]) -> dict[str, BenchmarkResult]:
    """Evaluations by label: those of the asset benchmark_results first, then those of `visor eval`."""
    folders = [r.folder(home) for r in records if r.stage == "benchmark_results"] + [home.evaluations]
    results = {}
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            if path.stat().st_size == 0:  # the place of an evaluation that is running
                continue
            if "metrics" in (data := json.loads(path.read_text(encoding="utf-8"))) and "episodes" in data:
                results[path.stem] = read_result(path)
    return results


def curves_of(home: Home, record: Record) -> list[Curve]:
    """The training curves of a stage, one chart a quantity and one line a phase."""
    rows = [meaningful(row) for row in read_metrics(record.build_folder(home))]
    curves = []
    for key in CURVES:
        lines: dict[str, list[tuple[float, float]]] = {}
        for number, row in enumerate(rows):
            value = row.get(key)
            if isinstance(value, int | float):
                lines.setdefault(str(row.get("phase", "") or key), []).append((float(row.get("step", number)), value))
        if lines:
            series = tuple(Series(name, tuple(_thinned(points))) for name, points in lines.items())
            curves.append(Curve(f"{_name(record)}: {key}", series))
    return curves


def kept_episodes(home: Home) -> tuple[list[Trajectory], list[str]]:
    """Evaluated and asked episodes, and one line for each store that cannot be read (of another version, damaged)."""
    from visor_core.trajectories.store import read_trajectories

    stores = [home.asset("asked"), *(home.evaluations / "trajectories").glob("*")]
    stores += home.asset("benchmark_results").glob("*/episodes/*")
    kept: list[Trajectory] = []
    unreadable: list[str] = []
    for store in stores:
        if (store / "segments").is_dir():
            try:
                kept += read_trajectories(store)
            except DataError as error:
                unreadable.append(f"Episodes not shown, {store.relative_to(home.root)}: {error}")
    return kept, unreadable


def sample_episodes(
    home: Home, episodes: Iterable[Trajectory], documents: DocumentsConfig | None = None
) -> list[SampleEpisode]:
    """A few evaluated or asked episodes, as far as their index is still there.

    A picture that cannot be drawn, of an encrypted document without its password for one, leaves its reason.
    """
    from visor_core.index import PageIndex
    from visor_core.trajectories.viewer import episode_html

    indexes: dict[tuple[str, str], PageIndex | None] = {}
    samples: list[SampleEpisode] = []
    for episode in sorted(episodes, key=_worth):
        place = (episode.corpus, episode.index_tag)
        if place not in indexes:
            indexes[place] = _find_index(home, *place, documents)
        index = indexes[place]
        shown = {sample.title for sample in samples}
        if index is not None and _title(episode) not in shown:
            samples.append(SampleEpisode(_title(episode), episode_html(episode, index)))
        if len(samples) == SAMPLES:
            break
    return samples


def _worth(episode: Trajectory) -> tuple[bool, bool, bool, int, str]:
    """Sorts first what is worth looking at: the reinforced policy, right answers, crops, many turns."""
    right = bool(episode.question.answers) and (answer_score(episode.question, episode.answer) or 0.0) >= 1.0
    crops = any(turn.action.kind == "crop" for turn in episode.turns)
    return (episode.policy != REINFORCED.stage, not right, not crops, -len(episode.turns), episode.trajectory_id)


def _title(episode: Trajectory) -> str:
    return f"{episode.question.question} → {episode.answer or episode.outcome} ({len(episode.turns)} turns)"


def _find_index(home: Home, corpus: str, tag: str, documents: DocumentsConfig | None):  # type: ignore[no-untyped-def]
    """The index an episode was played on, opened; None if its corpus does not hold that tag any more."""
    from visor_core.index import PageIndex

    if not corpus or not (home.corpus(corpus) / "tags" / f"{tag}.json").is_file():
        return None
    try:
        return PageIndex.open(home.corpus(corpus), tag, documents=documents)
    except SearchIndexError:
        return None


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `POINTS` points of a long curve, evenly."""
    stride = -(-len(points) // POINTS)
    return points[::stride]


def _figures(record: Record) -> dict[str, str]:
    """Key figures in words."""
    return {
        name.replace("_", " "): f"{value:.3g}" if isinstance(value, float) else str(value)
        for name, value in record.figures.items()
    }


def _name(record: Record) -> str:
    return f"{record.stage} ({record.partition})" if record.partition else record.stage


def _notes(records: list[Record]) -> list[str]:
    versions = ", ".join(f"{_name(r)} {r.data_version}" for r in records)
    return [f"Data versions: {versions}"] if records else []
