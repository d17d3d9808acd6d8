"""Plays a policy over questions, an episode each; resumable by the trajectories it stores. Scores nothing.

A reproducible policy plays in reference mode (fixed batches, keyed noise): a batch counts as done only when all of it
is stored, so an interrupted call that is made again ends with the very episodes of an undisturbed one. Any other policy
plays in throughput mode, where each stored episode is kept and a failed one is tried again. The store's folder is named
after a digest of everything that decides the episodes (`identity_of`, written into it as `identity.json`).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference, run_throughput
from visor_core.agent.prompts import stated_format
from visor_core.agent.trajectory import Trajectory
from visor_core.code_version import code_behind, code_version
from visor_core.config import AgentConfig, EvaluationConfig
from visor_core.errors import DataError
from visor_core.files import write_json
from visor_core.policies.base import BatchPolicy, Policy, ReproduciblePolicy
from visor_core.policies.identity import Identity, digest_of
from visor_core.questions import Question
from visor_core.trajectories.store import TrajectoryWriter, read_trajectories

Mode = Literal["reference", "throughput"]
Progress = Callable[[int, int], None]
EPISODE_CODE = ("visor_core.agent.episode", "visor_core.index.search")
"""Where the code begins that plays an episode, and draws and ranks its pages; none of it scores one."""
APART = (
    "visor_core.config",
    "visor_core.policies",
    "visor_core.errors",
    "visor_core.files",
    "visor_core.code_version",
)
"""What counts by its values, or in a policy's own identity, or decides nothing."""
BATCH = 128
"""Episodes of one reference batch."""
CONCURRENCY: int = EvaluationConfig().concurrency
"""Episodes side by side in throughput mode, where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Played:
    """Episodes in the order of their questions, by whom and under what they were played.

    `seconds` is the time they took, `reused` those of them that earlier calls had stored.
    """

    episodes: tuple[Trajectory, ...]
    policy: str
    checkpoint: str
    strategy: str
    corpus: str
    index_tag: str
    seed: int
    temperature: float
    identity: Identity
    seconds: float
    reused: tuple[Trajectory, ...] = ()

    @property
    def finished(self) -> tuple[Trajectory, ...]:
        """The episodes that came to an end of their own."""
        return tuple(episode for episode in self.episodes if episode.outcome != "error")


def play(
    policy: Policy,
    environment: Environment,
    questions: Sequence[Question],
    *,
    seed: int = 0,
    temperature: float = 0.0,
    concurrency: int = CONCURRENCY,
    store: Path | None = None,
    progress: Progress | None = None,
    mode: Mode | None = None,
    fresh: bool = False,
    on_unkept: Callable[[int, OSError], None] | None = None,
) -> Played:
    """Play one episode a question.

    Args:
        concurrency: episodes side by side in throughput mode.
        store: folder under which finished episodes are kept; a later call with the same inputs reads them.
        progress: called with (episodes finished, episodes wanted).
        mode: none chooses reference mode for a `ReproduciblePolicy`, throughput mode for any other.
        fresh: set aside what the store holds of these episodes, and play every one anew.
        on_unkept: called at the end with (episodes that could not be stored, why), if there are any; without it the
            first such episode ends the call.

    Raises:
        DataError: if there is no question, one is given twice, or the store is damaged.
        OSError: if an episode cannot be stored and there is no `on_unkept`.
        PolicyError: if the engine fails for good; what was finished stays in the store.
    """
    asked = each_once(questions)
    identity = identity_of(policy, environment, asked, temperature, seed)
    folder = store and store / digest_of(identity)
    unopened: OSError | None = None
    if folder:
        try:
            _open_store(folder, identity, fresh=fresh)
        except OSError as error:
            if on_unkept is None:
                raise
            unopened = error
    digest = digest_of(identity["policy"])
    keep = _Keep(folder, asked, progress, goes_on=on_unkept is not None, failure=unopened)
    try:
        if mode == "reference" or (mode is None and isinstance(policy, ReproduciblePolicy)):
            assert isinstance(policy, BatchPolicy)
            episodes, seconds = _reference(policy, digest, environment, asked, temperature, seed, keep)
        else:
            episodes, seconds = _throughput(policy, digest, environment, asked, temperature, concurrency, seed, keep)
    finally:
        keep.close()
    if keep.failure and on_unkept and keep.lost:
        on_unkept(keep.lost, keep.failure)
    return Played(
        episodes=tuple(episodes),
        policy=policy.name,
        checkpoint=policy.checkpoint,
        strategy=environment.config.strategy,
        corpus=environment.corpus_name,
        index_tag=environment.index.tag,
        seed=seed,
        temperature=temperature,
        identity=identity,
        seconds=seconds,
        reused=tuple(keep.reused),
    )


def each_once(questions: Sequence[Question]) -> list[Question]:
    """The questions, each its own.

    Raises:
        DataError: if there is none, or one is given twice.
    """
    asked = list(questions)
    if not asked:
        raise DataError("there is no question to ask: check the split and the benchmark file")
    if len({question.question_id for question in asked}) != len(asked):
        raise DataError("the question set names a question twice: every question_id must be its own")
    return asked


def identity_of(
    policy: Policy, environment: Environment, questions: Sequence[Question], temperature: float, seed: int
) -> Identity:
    """Everything that decides the episodes, as JSON values.

    Raises:
        PolicyError: if the policy's weights cannot be read, or its server does not answer.
    """
    policy_identity = policy.identity()
    return {
        "policy": {key: value for key, value in policy_identity.items() if key != "recorded"},
        "environment": environment.identity(),
        # Gold is what scores them: a question whose gold was corrected is asked no second time.
        "questions": [[q.question_id, q.question, q.partition, *_stated(q, environment.config)] for q in questions],
        "temperature": temperature,
        "seed": seed,
        "code": episode_code(),
        "recorded": policy_identity.get("recorded", {}),
    }


def _stated(question: Question, config: AgentConfig) -> list[str]:
    """The answer format that the prompt states, if it states one: it decides what is replied."""
    form = stated_format(question, config)
    return [form] if form else []


def folder_of(
    store: Path, policy: Policy, environment: Environment, questions: Sequence[Question], temperature: float, seed: int
) -> Path:
    """Where exactly these episodes are kept."""
    return store / digest_of(identity_of(policy, environment, questions, temperature, seed))


@cache
def episode_code() -> str:
    """The code version of what plays an episode: agent, geometry, the drawing of pages, the ranking of searches."""
    return code_version(*code_behind(*EPISODE_CODE, within=("visor_core",), without=APART))


def _open_store(folder: Path, identity: dict[str, Any], *, fresh: bool) -> None:
    """Set an earlier store aside if asked to, and say in the folder what its name stands for."""
    aside = None
    if fresh and folder.is_dir():
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        aside = folder.rename(folder.with_name(f"{folder.name}.until-{moment}"))
    try:
        if not (folder / "identity.json").is_file():
            write_json(folder / "identity.json", identity)
    except OSError:
        if aside:  # what cannot be replaced stays what is kept
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
        raise


class _Keep:
    """Stores episodes as they finish, gives back those of an earlier run, and reports progress."""

    def __init__(
        self,
        folder: Path | None,
        questions: Sequence[Question],
        progress: Progress | None,
        *,
        goes_on: bool,
        failure: OSError | None = None,
    ) -> None:
        self._goes_on = goes_on
        self._wanted, self._progress, self._seen = len(questions), progress, 0
        self.lost = 0
        self.failure = failure
        self._writer: TrajectoryWriter | None = None
        if folder and failure is None:
            with self._tolerated():
                self._writer = TrajectoryWriter(folder)
        kept = read_trajectories(folder) if folder and (folder / "segments").is_dir() else []
        given = {question.question_id: question for question in questions}
        # With the gold as it is now.
        self.episodes = {
            episode.question.question_id: replace(episode, question=given[episode.question.question_id])
            for episode in kept
        }
        self.reused: list[Trajectory] = []

    def reuse(self, episodes: Sequence[Trajectory]) -> None:
        """Count episodes that need not be run."""
        self.reused += episodes
        self._count(len(episodes))

    def finished(self, episode: Trajectory) -> None:
        """Store one episode, unless a finished one is there already."""
        question_id = episode.question.question_id
        if question_id not in self.episodes or self.episodes[question_id].outcome == "error":
            self._store(episode)
            self.episodes[question_id] = episode
        self._count(1)

    def _count(self, count: int) -> None:
        self._seen += count
        if self._progress:
            self._progress(self._seen, self._wanted)

    def _store(self, episode: Trajectory) -> None:
        """Store an episode, or count it as lost once the disk has refused one: it is handed on anyway."""
        if self._writer and not self.failure:
            with self._tolerated():
                self._writer.append(episode)
        self.lost += self.failure is not None

    @contextmanager
    def _tolerated(self) -> Iterator[None]:
        """What the disk refuses is noted down, where the call goes on without it."""
        try:
            yield
        except OSError as error:
            if not self._goes_on:
                raise
            self.failure = self.failure or error

    def close(self) -> None:
        """Release the segment."""
        if self._writer:
            with self._tolerated():
                self._writer.close()


def _reference(
    policy: BatchPolicy,
    identity: str,
    environment: Environment,
    questions: Sequence[Question],
    temperature: float,
    seed: int,
    keep: _Keep,
) -> tuple[list[Trajectory], float]:
    """Fixed batches; seconds are the sum over batches of their slowest episode.

    A failed episode is stored like any other: here only a page that cannot be drawn fails one, for all its batch.
    """
    episodes: list[Trajectory] = []
    seconds = 0.0
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        # One missing episode means the whole batch: who runs beside it decides rounding.
        if all(question.question_id in keep.episodes for question in batch):
            done = [keep.episodes[question.question_id] for question in batch]
            keep.reuse(done)
        else:
            done = run_reference(
                environment,
                policy,
                batch,
                seed=seed,
                temperature=temperature,
                batch_size=BATCH,
                on_finished=keep.finished,
                identity=identity,
            )
        episodes += done
        seconds += max(episode.seconds for episode in done)
    return episodes, seconds


def _throughput(
    policy: Policy,
    identity: str,
    environment: Environment,
    questions: Sequence[Question],
    temperature: float,
    concurrency: int,
    seed: int,
    keep: _Keep,
) -> tuple[list[Trajectory], float]:
    """Coroutines; seconds are the episodes' own, shared by as many as ran side by side. Failed ones are tried again."""
    known = {name: episode for name, episode in keep.episodes.items() if episode.outcome != "error"}
    missing = [question for question in questions if question.question_id not in known]
    keep.reuse([known[question.question_id] for question in questions if question.question_id in known])
    fresh = asyncio.run(
        run_throughput(
            environment,
            policy,
            missing,
            seed=seed,
            temperature=temperature,
            concurrency=concurrency,
            on_finished=keep.finished,
            identity=identity,
            all_may_fail=bool(known),
        )
    )
    known |= {episode.question.question_id: episode for episode in fresh}
    episodes = [known[question.question_id] for question in questions]
    return episodes, sum(episode.seconds for episode in episodes) / min(concurrency, len(episodes))
