"""Runs a policy over a question set and scores every episode; resumable by the trajectories it stores.

A reproducible policy runs in reference mode (fixed batches, keyed noise): a batch counts as done only when all of it
is stored, so an interrupted evaluation that is run again ends with the very episodes of an undisturbed one. Any other
policy runs in throughput mode, where each stored episode is kept and a failed one is tried again. The store's folder
is named after everything that decides the outcome: policy, checkpoint, index, agent, questions, seed, temperature.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference, run_throughput
from visor_core.agent.trajectory import Trajectory
from visor_core.config import EvaluationConfig
from visor_core.errors import DataError
from visor_core.evaluation.benchmarks.resolve import LeftOut
from visor_core.evaluation.results import BenchmarkResult, score_episode
from visor_core.policies.base import BatchPolicy, Policy, ReproduciblePolicy
from visor_core.questions import Question, questions_version
from visor_core.trajectories.store import TrajectoryWriter, read_trajectories

Mode = Literal["reference", "throughput"]
Progress = Callable[[int, int], None]
BATCH = 128
"""Episodes of one reference batch."""


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
    on_episodes: Callable[[Sequence[Trajectory]], None] | None = None,
) -> BenchmarkResult:
    """Run one episode a question and score it.

    Args:
        config: how many questions (the first ones), at what temperature, how many at once.
        store: folder under which finished episodes are kept; a later call with the same inputs reads them.
        progress: called with (episodes finished, episodes wanted).
        mode: none chooses reference mode for a `ReproduciblePolicy`, throughput mode for any other.
        left_out: items of the benchmark file that could not be used; reported with the result.
        on_episodes: called once with all trajectories, in the order of the questions.

    Raises:
        DataError: if there is no question, one is given twice, or the store is damaged.
        PolicyError: if the engine fails for good; what was finished stays in the store.
    """
    chosen = list(questions)[: config.questions]
    if not chosen:
        raise DataError("there is no question to evaluate: check the split and the benchmark file")
    if len({question.question_id for question in chosen}) != len(chosen):
        raise DataError("the question set names a question twice: every question_id must be its own")
    folder = store and evaluation_folder(store, policy, environment, chosen, config.temperature, seed)
    keep = _Keep(folder, len(chosen), progress)
    try:
        if mode == "reference" or (mode is None and isinstance(policy, ReproduciblePolicy)):
            assert isinstance(policy, BatchPolicy)
            episodes, seconds = _reference(policy, environment, chosen, config, seed, keep)
        else:
            episodes, seconds = _throughput(policy, environment, chosen, config, seed, keep)
    finally:
        keep.close()
    if on_episodes:
        on_episodes(episodes)
    first = chosen[0]
    return BenchmarkResult(
        benchmark=first.benchmark,
        split=first.split,
        policy=policy.name,
        checkpoint=policy.checkpoint,
        strategy=environment.config.strategy,
        index_tag=environment.index.tag,
        seed=seed,
        temperature=config.temperature,
        questions_version=questions_version(chosen),
        wall_seconds=seconds,
        episodes=tuple(score_episode(episode) for episode in episodes),
        left_out=tuple(left_out),
    )


def evaluation_folder(
    store: Path, policy: Policy, environment: Environment, questions: Sequence[Question], temperature: float, seed: int
) -> Path:
    """Where the episodes of exactly this evaluation are kept."""
    identity = [
        policy.name,
        policy.checkpoint,
        environment.index.tag,
        environment.config.model_dump(mode="json"),
        environment.index_config.model_dump(mode="json"),
        questions_version(questions),
        temperature,
        seed,
    ]
    return store / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class _Keep:
    """Stores episodes as they finish, gives back those of an earlier run, and reports progress."""

    def __init__(self, folder: Path | None, wanted: int, progress: Progress | None) -> None:
        self._writer = TrajectoryWriter(folder) if folder else None
        self._wanted, self._progress, self._seen = wanted, progress, 0
        kept = read_trajectories(folder) if folder and (folder / "segments").is_dir() else []
        self.episodes = {episode.question.question_id: episode for episode in kept}

    def found(self, count: int) -> None:
        """Count episodes that need not be run."""
        self._seen += count
        if self._progress:
            self._progress(self._seen, self._wanted)

    def finished(self, episode: Trajectory) -> None:
        """Store one episode; one that failed is left out, so that it is tried again."""
        question_id = episode.question.question_id
        if episode.outcome != "error" and question_id not in self.episodes:
            if self._writer:
                self._writer.append(episode)
            self.episodes[question_id] = episode
        self.found(1)

    def close(self) -> None:
        """Release the segment."""
        if self._writer:
            self._writer.close()


def _reference(
    policy: BatchPolicy,
    environment: Environment,
    questions: Sequence[Question],
    config: EvaluationConfig,
    seed: int,
    keep: _Keep,
) -> tuple[list[Trajectory], float]:
    """Fixed batches; seconds are the sum over batches of their slowest episode."""
    episodes: list[Trajectory] = []
    seconds = 0.0
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        # One missing episode means the whole batch: who runs beside it decides rounding.
        if all(question.question_id in keep.episodes for question in batch):
            done = [keep.episodes[question.question_id] for question in batch]
            keep.found(len(batch))
        else:
            done = run_reference(
                environment,
                policy,
                batch,
                seed=seed,
                temperature=config.temperature,
                batch_size=BATCH,
                on_finished=keep.finished,
            )
        episodes += done
        seconds += max(episode.seconds for episode in done)
    return episodes, seconds


def _throughput(
    policy: Policy,
    environment: Environment,
    questions: Sequence[Question],
    config: EvaluationConfig,
    seed: int,
    keep: _Keep,
) -> tuple[list[Trajectory], float]:
    """Coroutines; seconds are the episodes' own, shared by as many as ran side by side."""
    known = dict(keep.episodes)
    missing = [question for question in questions if question.question_id not in known]
    keep.found(len(questions) - len(missing))
    fresh = asyncio.run(
        run_throughput(
            environment,
            policy,
            missing,
            seed=seed,
            temperature=config.temperature,
            concurrency=config.concurrency,
            on_finished=keep.finished,
        )
    )
    known |= {episode.question.question_id: episode for episode in fresh}
    episodes = [known[question.question_id] for question in questions]
    return episodes, sum(episode.seconds for episode in episodes) / min(config.concurrency, len(episodes))
