"""Writes a comparison into a folder: its page, its figures as JSON and Markdown, its episodes side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.indexes import OpenIndexes
from visor_core.agent.trajectory import Trajectory
from visor_core.config import DocumentsConfig, Home
from visor_core.errors import DataError
from visor_core.evaluation.comparison import Comparison, Item
from visor_core.evaluation.comparison_page import comparison_html
from visor_core.evaluation.comparison_text import comparison_json, comparison_markdown
from visor_core.evaluation.question_rows import Places
from visor_core.evaluation.results import BenchmarkResult
from visor_core.files import write_json, write_text
from visor_core.policies.identity import digest_of
from visor_core.trajectories.viewer import side_by_side_html
from visor_core.trajectories.viewer_page import Link

PAGE, DATA, TEXT = "index.html", "comparison.json", "comparison.md"
QUESTIONS = "questions"
"""The folder with a page a question."""
FIRST = ("lost", "won", "split")
"""The verdicts whose questions get a page first."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the page, all files that belong together, and for how many of the disagreements a page."""

    page: Path
    files: tuple[Path, ...]
    pages: int
    disagreements: int
    unreadable: tuple[str, ...]


def write_comparison(
    comparison: Comparison,
    homes: Sequence[Home],
    folder: Path,
    *,
    documents: DocumentsConfig | None = None,
    pages: int = 100,
) -> Written:
    """Write the page, the JSON and the Markdown of a comparison, and pages of the questions on which arms disagree.

    Args:
        homes: where the episodes and the indexes lie.
        documents: limits, and passwords of encrypted documents, for pictures.
        pages: questions that get a page with their episodes side by side; those won and lost come first.
    """
    indexes = OpenIndexes(homes, documents)
    results = [result for arm in comparison.arms for result in arm.results]
    for result in results:
        indexes.of(result.corpus, result.index_tag)
    episodes, unreadable = _episodes(homes, results)
    disagreements = sorted(
        (item for item in comparison.items if item.disagrees),
        key=lambda item: (FIRST.index(item.verdict) if item.verdict in FIRST else len(FIRST), item.key),
    )
    kept = [i for i in disagreements if any(s.row.trajectory_id in episodes for s in i.scored)][:pages]
    addresses = {item.key: f"{QUESTIONS}/{number:04d}.html" for number, item in enumerate(kept, start=1)}
    _write_pages(comparison, kept, addresses, episodes, indexes, folder)
    html = comparison_html(
        comparison,
        episodes=episodes,
        places=Places(indexes.name_of, indexes.address_of),
        page_of=lambda item: addresses.get(item.key, ""),
    )
    write_text(folder / PAGE, html)
    write_json(folder / DATA, comparison_json(comparison))
    write_text(folder / TEXT, comparison_markdown(comparison))
    files = tuple(folder / name for name in (PAGE, DATA, TEXT))
    return Written(folder / PAGE, files, len(kept), len(disagreements), tuple(unreadable))


def _write_pages(
    comparison: Comparison,
    items: Sequence[Item],
    addresses: Mapping[tuple[int, str], str],
    episodes: Mapping[str, Trajectory],
    indexes: OpenIndexes,
    folder: Path,
) -> None:
    """A page a question, linked in their order and to the comparison."""
    names = [Path(addresses[item.key]).name for item in items]
    for number, item in enumerate(items):
        around = [
            Link("comparison", f"../{PAGE}", "up"),
            *([Link("← previous", names[number - 1], "prev")] if number else []),
            *([Link("next →", names[number + 1], "next")] if number + 1 < len(names) else []),
        ]
        sides = [
            (label, episodes.get(scored.row.trajectory_id))
            for label, scored in zip(comparison.labels, item.scored, strict=True)
        ]
        html = side_by_side_html(sides, indexes, address_of=indexes.address_of, navigation=around)
        write_text(folder / addresses[item.key], html)


def _episodes(homes: Sequence[Home], results: Sequence[BenchmarkResult]) -> tuple[dict[str, Trajectory], list[str]]:
    """The kept episodes of results by trajectory id, and a line for each store that cannot be read."""
    from visor_core.trajectories.store import read_trajectories

    wanted = {row.trajectory_id for result in results for row in result.episodes}
    found: dict[str, Trajectory] = {}
    unreadable = []
    for name in dict.fromkeys(digest_of(result.identity) for result in results):
        for home in homes:
            places = [home.evaluations / "trajectories" / name]
            places += sorted(home.asset().glob(f"*/*/episodes/{name}"))
            for store in places:
                if not (store / "segments").is_dir():
                    continue
                try:
                    found |= {t.trajectory_id: t for t in read_trajectories(store) if t.trajectory_id in wanted}
                except DataError as error:
                    unreadable.append(f"episodes not shown, {store}: {error}")
    return found, unreadable
