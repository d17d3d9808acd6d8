"""From questions to weighted rows: which questions a step asks, dynamic sampling, scoring, and credit over all groups.

Everything a step draws derives from (seed, step), so a resumed run repeats the same steps. Scoring and credit are pure;
the rollouts themselves come from a `RolloutSource` (visor_core.agent.episode on a live policy, or a test's own).
Dynamic sampling after DAPO (arXiv 2503.14476): groups without an advantage teach nothing and are skipped or replaced.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from visor_core.agent.episode import OnFinished
from visor_core.agent.trajectory import Trajectory
from visor_core.config import GRPOConfig
from visor_core.errors import DataError
from visor_core.questions import Question
from visor_core.training.batching import WeightedRow
from visor_core.training.credit import CreditRollout, CreditTurn, assign, informative_groups, token_weights
from visor_core.training.rewards import RewardContext, highest, resolve, score
from visor_core.training.rows import TurnRow, rows_of, token_sections, turn_rewards


class RolloutSource(Protocol):
    """Rolls out `group_size` episodes a question with the weights as of the last `refresh`.

    `on_finished` is given each episode at its end; the episodes are returned in the order of the questions.
    With `steps_ahead` it is called in a thread of its own while the trained weights change; `refresh` never is.
    """

    def refresh(self) -> None: ...

    def __call__(self, step: int, questions: Sequence[Question], on_finished: OnFinished) -> list[Trajectory]: ...


@dataclass(frozen=True, slots=True)
class StepRollout:
    """One scored rollout as training needs it: small enough to send to every process."""

    rows: tuple[TurnRow, ...]
    credit: CreditRollout


@dataclass(frozen=True, slots=True)
class Collected:
    """What one process rolled out for a step. `trajectories` holds all of them, `rollouts` those trained on."""

    trajectories: tuple[Trajectory, ...]
    rollouts: tuple[StepRollout, ...]
    skipped_groups: int = 0
    oversized_rows: int = 0


@dataclass(eq=False)
class Collector:
    """Collects the rollouts of a step on one process.

    Args:
        questions: the training questions.
        source: where rollouts come from.
        config: group size, reward preset, credit, dynamic sampling.
        seed: of the run; with the step it decides which questions are asked.
        pieces: token ids → token texts (only `section` credit needs it).
        process, processes: this process asks every `processes`-th question of the step.
        on_episode: is given each episode, scored, as soon as it has finished.
    """

    questions: Sequence[Question]
    source: RolloutSource
    config: GRPOConfig
    seed: int
    context: RewardContext = field(default_factory=RewardContext)
    pieces: Callable[[Sequence[int]], list[str]] | None = None
    process: int = 0
    processes: int = 1
    on_episode: OnFinished | None = None

    def __post_init__(self) -> None:
        if not self.questions:
            raise DataError("GRPO has no questions: materialize the asset `questions` of the training corpus first")
        if self.config.questions_per_step > len(self.questions):
            # A question asked twice in a step would repeat its noise, and so its rollouts.
            raise DataError(
                f"grpo.questions_per_step is {self.config.questions_per_step}, but there are only "
                f"{len(self.questions)} questions: lower it"
            )
        self._preset = resolve(self.config.reward, self.config.reward_weights)
        self._highest = highest(self._preset) - 1e-9

    def collect(self, step: int) -> Collected:
        """Roll out, score and (by dynamic sampling) choose the rollouts of one step."""
        trajectories: list[Trajectory] = []
        scored: dict[str, Trajectory] = {}
        kept: list[StepRollout] = []
        skipped = oversized = 0
        first = draw(self.questions, self.config.questions_per_step, self.seed, step)
        questions = self._share(first)
        wanted = len(questions)
        spare = self._share(reserve(self.questions, first, self.seed, step))

        def finished(trajectory: Trajectory) -> None:
            scored[trajectory.trajectory_id] = score(trajectory, self._preset, self.context)
            if self.on_episode is not None:
                self.on_episode(scored[trajectory.trajectory_id])

        attempts = 1 + (self.config.refill_attempts if self.config.dynamic_sampling == "refill" else 0)
        for _ in range(attempts):
            if not questions:
                break
            played = [scored[t.trajectory_id] for t in self.source(step, questions, finished)]
            trajectories += played
            prepared = [self._prepare(t, i) for i, t in enumerate(played) if t.outcome != "error"]
            oversized += sum(cut for _, cut in prepared)
            rollouts = [rollout for rollout, _ in prepared]
            if self.config.dynamic_sampling == "keep":
                kept += rollouts
                continue
            credits = [r.credit for r in rollouts]
            informative = informative_groups(
                credits, self.config.credit, turn_weight=self.config.turn_weight, imitation=self.config.imitation
            )
            skipped += len({r.credit.group for r in rollouts} - informative)
            kept += [r for r in rollouts if r.credit.group in informative]
            missing = wanted - len({r.credit.group for r in kept})
            questions, spare = spare[:missing], spare[missing:]
        return Collected(tuple(trajectories), tuple(kept), skipped, oversized)

    def _share(self, questions: Sequence[Question]) -> list[Question]:
        return list(questions[self.process :: self.processes])

    def _prepare(self, trajectory: Trajectory, number: int) -> tuple[StepRollout, int]:
        """Rows and credit of a rollout; rows beyond the token limits are left out, and counted."""
        rows = rows_of(trajectory, number)
        fitting = tuple(
            row
            for row in rows
            if len(row.prompt_ids) <= self.config.max_prompt_tokens
            and len(row.completion_ids) <= self.config.max_completion_tokens
        )
        # Dense rewards pass the same gate as the total: a malformed rollout earns nothing anywhere.
        earns = trajectory.well_formed
        earned = turn_rewards(trajectory, self.context) if self.config.credit == "turn" and earns else {}
        prefixes = {turn.index: turn.prompt.forced_prefix for turn in trajectory.turns}
        turns = tuple(
            CreditTurn(
                tokens=sum(row.mask),
                action=row.action,
                reward=earned.get(row.turn, 0.0),
                sections=self._sections(row, prefixes[row.turn]),
            )
            for row in fitting
        )
        reward = 0.0 if trajectory.reward is None else trajectory.reward
        group = trajectory.group_id or trajectory.question.question_id
        credit = CreditRollout(
            group, reward, turns, trajectory.rewards if earns else {}, perfect=earns and reward >= self._highest
        )
        return StepRollout(fitting, credit), len(rows) - len(fitting)

    def _sections(self, row: TurnRow, prefix: str) -> tuple[str, ...]:
        """Sections of the trained tokens."""
        if self.config.credit != "section" or self.pieces is None:
            return ()
        sections = token_sections(self.pieces(row.completion_ids), prefix)
        return tuple(s for s, trained in zip(sections, row.mask, strict=True) if trained)


def draw(questions: Sequence[Question], count: int, seed: int, step: int) -> list[Question]:
    """The questions of a step: a fresh permutation an epoch, so that each is asked once before any is asked twice.

    No question comes twice in a step, `count` being at most their number. A pure function of its arguments.
    """
    epoch, offset = divmod(step * count, len(questions))
    order = _epoch(len(questions), count, seed, epoch)[offset : offset + count]
    if len(order) < count:
        order += _epoch(len(questions), count, seed, epoch + 1)[: count - len(order)]
    return [questions[i] for i in order]


def _epoch(size: int, count: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch. Where a step straddles two, the second puts off what the step has asked already."""
    order: list[int] = []
    # What is put off depends on the epoch before, back to the last one that began with a step.
    for number in range(epoch - epoch % (count // math.gcd(size, count)), epoch + 1):
        begun = number * size % count
        asked = set(order[size - begun :])
        order = list(range(size))
        random.Random(f"epoch/{seed}/{number}").shuffle(order)
        opening = set([i for i in order if i not in asked][: count - begun])
        order.sort(key=lambda i: i not in opening)
    return order


def reserve(questions: Sequence[Question], drawn: Sequence[Question], seed: int, step: int) -> list[Question]:
    """The questions that a step refills from: all it has not drawn, in one order for all processes.

    As each takes its own share of them, no process asks what another one has asked.
    """
    known = {q.question_id for q in drawn}
    others = [q for q in questions if q.question_id not in known]
    random.Random(f"refill/{seed}/{step}").shuffle(others)
    return others


def weigh(rollouts: Sequence[StepRollout], config: GRPOConfig) -> list[WeightedRow]:
    """Rows of all processes' rollouts with an advantage and a weight a token; masked tokens get 0 for both."""
    credits = [rollout.credit for rollout in rollouts]
    credited = assign(
        credits,
        config.credit,
        baseline=config.baseline,
        scale=config.scale_by_std,
        turn_weight=config.turn_weight,
        imitation=config.imitation,
    )
    weights = token_weights(credits, config.normalisation, config.max_completion_tokens)
    weighted = []
    for rollout, turns, weight in zip(rollouts, credited, weights, strict=True):
        for row, values in zip(rollout.rows, turns, strict=True):
            own = iter(values)
            advantages = tuple(next(own) if trained else 0.0 for trained in row.mask)
            weighted.append(WeightedRow(row, advantages, tuple(weight if m else 0.0 for m in row.mask)))
    return weighted


def figures(trajectory: Trajectory) -> dict[str, float]:
    """One episode's reward, components and shape: what is logged of it, small enough to send between processes."""
    return {
        "reward": trajectory.reward or 0.0,
        "turns": float(len(trajectory.turns)),
        "forced": float(trajectory.outcome == "forced"),
        "errors": float(trajectory.outcome == "error"),
        **{f"rewards/{name}": value for name, value in trajectory.rewards.items()},
    }


def summary(episodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the `figures` of all processes' episodes, the rewards' standard deviation and the number of episodes.

    An empty mapping without episodes.
    """
    if not episodes:
        return {}
    count = len(episodes)
    names = dict.fromkeys(name for episode in episodes for name in episode)
    means = {name: sum(episode.get(name, 0.0) for episode in episodes) / count for name in names}
    squares = sum((episode["reward"] - means["reward"]) ** 2 for episode in episodes)
    return {**means, "reward_std": (squares / max(1, count - 1)) ** 0.5, "episodes": float(count)}
