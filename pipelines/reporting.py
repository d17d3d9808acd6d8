"""What `visor report` shows of a VISOR_HOME: stages in force, evaluations question by question, curves, episodes.

Reads records, metrics and trajectories that the stages left behind; computes nothing new.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from pathlib import Path

from assets_defs.machinery.builds import Record, records_in_force
from assets_defs.machinery.graph import stages
from assets_defs.machinery.progress import read_metrics
from pipelines.indexes import OpenIndexes
from visor_core.agent.trajectory import Trajectory
from visor_core.config import DocumentsConfig, Home
from visor_core.config.policies import REINFORCED
from visor_core.errors import DataError
from visor_core.evaluation.charts import Series
from visor_core.evaluation.explorer import Cell
from visor_core.evaluation.question_rows import Places, question_rows
from visor_core.evaluation.report import Curve, Report, SampleEpisode, Stage
from visor_core.evaluation.results import BenchmarkResult, EpisodeResult, read_result
from visor_core.scoring.answers import answer_score
from visor_core.tracking import meaningful
from visor_core.training.curves import CURVES
from visor_core.trajectories.viewer_gallery import GALLERY, write_viewer
from visor_core.trajectories.viewer_page import Link

SAMPLES = 3
POINTS = 400
PAGES = "episodes"
"""The folder beside a report with the pages of episodes."""


def gather_report(
    home: Home, documents: DocumentsConfig | None = None, *, beside: Path | None = None, pages: int = 0
) -> Report:
    """The report of everything in force.

    Args:
        documents: limits, and passwords of encrypted documents, for the pictures of episodes.
        beside: the file the report is written to, beside which pages of episodes are written.
        pages: how many episodes get a page of their own, those that went wrong first.

    Raises:
        DataError: if nothing was made or evaluated yet.
    """
    records = find_records(home)
    results, torn = find_results(home, records)
    if not records and not results and not torn:
        raise DataError(f"nothing to report under {home.root} yet: `visor run` or `visor eval` first")
    episodes, unreadable = kept_episodes(home)
    indexes, kept = OpenIndexes([home], documents), {episode.trajectory_id: episode for episode in episodes}
    written = _write_pages(beside, results, kept, indexes, pages) if beside and pages else {}
    newest = max((record.created for record in records), default="")
    return Report(
        title="VISOR",
        subtitle=f"{home.root}{', last stage ' + newest if newest else ''}",
        stages=[Stage(_name(r), r.seconds, _figures(r)) for r in records],
        results=results,
        questions=_questions(results, kept, indexes, written),
        gallery=f"{PAGES}/{GALLERY}" if written else "",
        curves=[curve for record in records for curve in curves_of(home, record)],
        episodes=sample_episodes(indexes, episodes),
        notes=_notes(records),
        unread=[*torn, *unreadable],
    )


def find_records(home: Home) -> list[Record]:
    """The records in force, stages in graph order, partitions by name."""
    order = {name: number for number, name in enumerate(stages())}
    return sorted(records_in_force(home), key=lambda r: (order.get(r.stage, len(order)), r.partition))


def find_results(home: Home, records: Iterable[Record]) -> tuple[dict[str, BenchmarkResult], list[str]]:
    """Evaluations by label, those of the asset benchmark_results first, then those of `visor eval`; and one line for
    each that cannot be read."""
    folders = [r.folder(home) for r in records if r.stage == "benchmark_results"] + [home.evaluations]
    results, torn = {}, []
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            if path.stat().st_size == 0:  # the place of an evaluation that is running
                continue
            try:
                if folder == home.evaluations or _is_result(path):
                    results[path.stem] = read_result(path)
            except DataError as error:
                torn.append(f"Result not shown: {error}")
    return results, torn


def _is_result(path: Path) -> bool:
    """Whether a file of a build, which holds others too, is an evaluation, or was to be one."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return True  # torn: its reader says how
    return isinstance(held, dict) and {"metrics", "episodes"} <= held.keys()


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


def _questions(
    results: Mapping[str, BenchmarkResult],
    kept: Mapping[str, Trajectory],
    indexes: OpenIndexes,
    written: Mapping[str, str],
) -> list[dict[str, Cell]]:
    """A row an episode of every result; `written` gives the pages of episodes."""
    for result in results.values():
        indexes.of(result.corpus, result.index_tag)
    places = Places(indexes.name_of, indexes.address_of, lambda trajectory_id: written.get(trajectory_id, ""))
    return [row for label, result in results.items() for row in question_rows(label, result, kept, places)]


def _write_pages(
    beside: Path,
    results: Mapping[str, BenchmarkResult],
    kept: Mapping[str, Trajectory],
    indexes: OpenIndexes,
    count: int,
) -> dict[str, str]:
    """Write pages and a gallery of the episodes that are most worth one; their addresses by trajectory id."""
    queues = [sorted(result.episodes, key=_goes_first) for result in results.values()]
    in_turn = [row for rows in zip_longest(*queues) for row in rows if row is not None]
    chosen = dict.fromkeys(
        row.trajectory_id
        for row in in_turn
        if (episode := kept.get(row.trajectory_id)) and indexes.of(episode.corpus, episode.index_tag)
    )
    episodes = [kept[name] for name in chosen][:count]
    if episodes:
        up = [Link("report", f"../{beside.name}", "up")]
        write_viewer(beside.parent / PAGES, episodes, indexes, address_of=indexes.address_of, up=up)
    return {episode.trajectory_id: f"{PAGES}/{episode.trajectory_id}.html" for episode in episodes}


def _goes_first(row: EpisodeResult) -> tuple[bool, bool, str]:
    """Sorts wrong and failed episodes first, then right ones without their evidence."""
    return (row.right and not row.failed, row.supported, row.question_id)


def sample_episodes(indexes: OpenIndexes, episodes: Iterable[Trajectory]) -> list[SampleEpisode]:
    """A few evaluated or asked episodes, as far as their index is still there.

    A picture that cannot be drawn, of an encrypted document without its password for one, leaves its reason.
    """
    from visor_core.trajectories.viewer import episode_html

    samples: list[SampleEpisode] = []
    for episode in sorted(episodes, key=_worth):
        index = indexes.of(episode.corpus, episode.index_tag)
        shown = {sample.title for sample in samples}
        if index is not None and _title(episode) not in shown:
            html = episode_html(episode, index, address_of=indexes.address_of)
            samples.append(SampleEpisode(_title(episode), html))
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
