"""Measures a policy on a question set: its episodes are played (`trajectories.playing`), then scored.

What scores an episode is no part of what it is kept under: kept episodes are scored anew at every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from visor_core.agent.environment import Environment
from visor_core.agent.trajectory import Trajectory
from visor_core.config import EvaluationConfig
from visor_core.evaluation.benchmarks.resolve import LeftOut
from visor_core.evaluation.results import BenchmarkResult, score_episode, scoring_version
from visor_core.policies.base import Policy
from visor_core.policies.served import fingerprints
from visor_core.questions import EDITION, Question, questions_version
from visor_core.scoring.facts import Word
from visor_core.scoring.located import WordsOf
from visor_core.trajectories.playing import Mode, Played, Progress, each_once, episode_code, play

if TYPE_CHECKING:
    from visor_core.index import PageIndex


def evaluate(
    policy: Policy,
    environment: Environment,
    questions: Sequence[Question],
    config: EvaluationConfig,
    *,
    seed: int = 0,
    store: Path | None = None,
    progress: Progress | None = None,
    mode: Mode | None = None,
    left_out: Sequence[LeftOut] = (),
    fresh: bool = False,
    on_unkept: Callable[[int, OSError], None] | None = None,
) -> BenchmarkResult:
    """Play one episode a question and score it; arguments and errors as those of `play`.

    Args:
        config: how many questions (the first ones), at what temperature, how many at once.
        left_out: items of the benchmark file that could not be used; reported with the result.
    """
    played = play(
        policy,
        environment,
        chosen_questions(questions, config),
        seed=seed,
        temperature=config.temperature,
        concurrency=config.concurrency,
        store=store,
        progress=progress,
        mode=mode,
        fresh=fresh,
        on_unkept=on_unkept,
    )
    return score(played, left_out)


def words_in(index: PageIndex, episodes: Iterable[Trajectory]) -> WordsOf:
    """The words of the pages that episodes are judged by, all asked for together; none of a page that the index does
    not hold."""
    needed = {page for episode in episodes for page in _judged_by(episode)}
    known = index.words(needed)

    def words(page_id: str) -> Sequence[Word]:
        if page_id not in needed:  # a benchmark's regions may lie on other pages
            needed.add(page_id)
            known.update(index.words([page_id]))
        return known.get(page_id, ())

    return words


def _judged_by(episode: Trajectory) -> Iterator[str]:
    """The pages of an episode: gold, shown, recorded, cited."""
    yield from episode.question.gold_pages
    yield from episode.pages_seen
    yield from (entry.page_id for entry in episode.evidence)
    yield from (citation.page_id for citation in episode.citations)


def score(played: Played, left_out: Sequence[LeftOut] = (), words: WordsOf | None = None) -> BenchmarkResult:
    """The figures of episodes that were played.

    Args:
        words: the words of a page, by which citations are judged and boxes located (`words_in`).
    """
    questions = [episode.question for episode in played.episodes]
    created = sorted(episode.created for episode in played.reused)
    return BenchmarkResult(
        benchmark=questions[0].benchmark,
        split=questions[0].split,
        policy=played.policy,
        checkpoint=played.checkpoint,
        strategy=played.strategy,
        index_tag=played.index_tag,
        seed=played.seed,
        temperature=played.temperature,
        questions_version=questions_version(questions),
        wall_seconds=played.seconds,
        episodes=tuple(score_episode(episode, words) for episode in played.episodes),
        corpus=played.corpus,
        identity=played.identity,
        scoring=scoring_version(),
        kept=len(created),
        kept_from=created[0] if created else "",
        kept_to=created[-1] if created else "",
        fingerprints=fingerprints(turn.completion for episode in played.episodes for turn in episode.turns),
        left_out=tuple(left_out),
        edition=_edition(questions),
    )


def _edition(questions: Sequence[Question]) -> str:
    """The released file that all questions are of; a part of it is none."""
    named = {question.metadata.get(EDITION, "") for question in questions}
    return named.pop() if len(named) == 1 else ""


def chosen_questions(questions: Sequence[Question], config: EvaluationConfig) -> list[Question]:
    """The questions of an evaluation: the first ones.

    Raises:
        DataError: if there is none, or one is given twice.
    """
    return each_once(questions[: config.questions])


def evaluation_code() -> str:
    """The code version of an evaluation as a whole: what plays its episodes and what scores them."""
    return f"{episode_code()}-{scoring_version()}"
