"""Finding one question of an evaluation again: its result's file, and the episode that was kept of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visor_core.errors import DataError
from visor_core.evaluation.results import BenchmarkResult, read_result
from visor_core.policies.identity import digest_of
from visor_core.trajectories.store import read_trajectories

if TYPE_CHECKING:
    from visor_core.agent.trajectory import Trajectory
    from visor_core.config import Home

LISTED = 8
"""Questions that are named where several fit."""


@dataclass(frozen=True, slots=True)
class Found:
    """An episode of an evaluation, and where both lie."""

    path: Path
    result: BenchmarkResult
    episode: Trajectory


def result_files(home: Home) -> list[Path]:
    """The files of evaluations, the newest first: those of `visor eval` and of the benchmarks."""
    found = [*home.evaluations.glob("*.json"), *home.asset("benchmark_results").glob("*/results/*.json")]
    return sorted((path for path in found if path.stat().st_size), key=lambda path: -path.stat().st_mtime)


def find_question(home: Home, question: str, result: str = "") -> Found:
    """The newest kept episode of a question.

    Args:
        question: its id, or words that stand in one question only, of all results that are meant.
        result: a result's file, or the name of one; none looks through all, the newest first.

    Raises:
        DataError: if there is no such result or question, or the words stand in several.
    """
    unread: list[str] = []
    fitting: dict[str, tuple[str, list[tuple[Path, BenchmarkResult]]]] = {}
    for path in _named(home, result):
        try:
            read = read_result(path)
            asked = {str(name): str(text) for name, text, *_ in read.identity.get("questions", ())}
            if question in asked and (found := _found(home, path, read, question)):
                return found
        except DataError as error:
            if result:
                raise
            unread.append(f"{path.name} ({error})")
            continue
        for name, text in asked.items():
            if question.casefold() in text.casefold():
                fitting.setdefault(name, (text, []))[1].append((path, read))
    if len(fitting) > 1:
        named = [f"{name} ({text[:60]})" for name, (text, _) in list(fitting.items())[:LISTED]]
        more = f" and {len(fitting) - LISTED} more" if len(fitting) > LISTED else ""
        raise DataError(
            f"{question!r} stands in {len(fitting)} questions, give an id or more words: {'; '.join(named)}{more}"
        )
    for name, (_, places) in fitting.items():
        for path, read in places:
            if found := _found(home, path, read, name):
                return found
    where = f"the result {result}" if result else f"any result under {home.root}"
    lost = f"; not read: {'; '.join(unread)}" if unread else ""
    raise DataError(f"no kept episode of a question {question!r} in {where}: `visor eval` plays and keeps them{lost}")


def _found(home: Home, path: Path, result: BenchmarkResult, question_id: str) -> Found | None:
    """The episode of a question of a result; None where it is not kept."""
    for episode in _episodes(home, path, result):
        if episode.question.question_id == question_id:
            return Found(path, result, episode)
    return None


def _named(home: Home, result: str) -> list[Path]:
    """The result files that are meant."""
    files = result_files(home)
    if not result:
        if not files:
            raise DataError(f"nothing was evaluated under {home.root} yet: `visor eval` first")
        return files
    if Path(result).is_file():
        return [Path(result)]
    named = [path for path in files if path.stem == result]
    if not named:
        known = ", ".join(dict.fromkeys(path.stem for path in files[:LISTED])) or "none"
        raise DataError(f"--result {result!r} is neither a file nor one of the newest results here: {known}")
    return named[:1]


def _episodes(home: Home, path: Path, result: BenchmarkResult) -> list[Trajectory]:
    """The episodes that were kept of a result, the newest of each question; none where their store is gone."""
    digest = digest_of(result.identity)
    places = [home.evaluations / "trajectories" / digest, path.resolve().parent.parent / "episodes" / digest]
    store = next((place for place in places if (place / "segments").is_dir()), None)
    episodes = read_trajectories(store) if store else []
    return list({episode.question.question_id: episode for episode in episodes}.values())
