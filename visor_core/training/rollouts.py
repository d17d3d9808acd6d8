"""From questions to weighted rows: which questions a step asks, dynamic sampling, scoring, and credit over all groups.

Everything a step draws derives from (seed, step), so a resumed run repeats the same steps. Scoring and credit are pure;
the rollouts themselves come from a `RolloutSource` (visor_core.agent.episode on a live policy, or a test's own).
Dynamic sampling after DAPO (arXiv 2503.14476): groups with equal rewards teach nothing and are skipped or replaced.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from visor_core.agent.trajectory import Trajectory
from visor_core.config import GRPOConfig
from visor_core.errors import DataError
from visor_core.questions import Question
from visor_core.training.batching import WeightedRow
from visor_core.training.credit import CreditRollout, CreditTurn, assign, informative_groups, token_weights
from visor_core.training.rewards import RewardContext, resolve, score
from visor_core.training.rows import TurnRow, rows_of, token_sections, turn_rewards


class RolloutSource(Protocol):
    """Rolls out `group_size` episodes a question with the weights as of the last `refresh`.

    With `steps_ahead` it is called in a thread of its own while the trained weights change; `refresh` never is.
    """

    def refresh(self) -> None: ...

    def __call__(self, step: int, questions: Sequence[Question]) -> list[Trajectory]: ...


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
    """

    questions: Sequence[Question]
    source: RolloutSource
    config: GRPOConfig
    seed: int
    context: RewardContext = field(default_factory=RewardContext)
    pieces: Callable[[Sequence[int]], list[str]] | None = None
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if not self.questions:
            raise DataError("GRPO has no questions: materialize the asset `questions` of the training corpus first")
        self._preset = resolve(self.config.reward, self.config.reward_weights)

    def collect(self, step: int) -> Collected:
        """Roll out, score and (by dynamic sampling) choose the rollouts of one step."""
        asked: list[Question] = []
        trajectories: list[Trajectory] = []
        kept: list[StepRollout] = []
        skipped = oversized = 0
        wanted = len(self._share(draw(self.questions, self.config.questions_per_step, self.seed, step)))
        attempts = 1 + (self.config.refill_attempts if self.config.dynamic_sampling == "refill" else 0)
        for attempt in range(attempts):
            questions = self._questions(step, attempt, wanted - len({r.credit.group for r in kept}), asked)
            if not questions:
                break
            asked += questions
            scored = [self._score(t) for t in self.source(step, questions)]
            trajectories += scored
            prepared = [self._prepare(t, i) for i, t in enumerate(scored) if t.outcome != "error"]
            oversized += sum(cut for _, cut in prepared)
            rollouts = [rollout for rollout, _ in prepared]
            if self.config.dynamic_sampling == "off":
                kept += rollouts
                continue
            informative = informative_groups([r.credit for r in rollouts])
            skipped += len({r.credit.group for r in rollouts} - informative)
            kept += [r for r in rollouts if r.credit.group in informative]
        return Collected(tuple(trajectories), tuple(kept), skipped, oversized)

    def _share(self, questions: Sequence[Question]) -> list[Question]:
        return list(questions[self.process :: self.processes])

    def _questions(self, step: int, attempt: int, missing: int, asked: Sequence[Question]) -> list[Question]:
        """Questions of an attempt: the step's own first, then others not asked yet."""
        if attempt == 0:
            return self._share(draw(self.questions, self.config.questions_per_step, self.seed, step))
        known = {q.question_id for q in asked}
        others = self._share(draw(self.questions, len(self.questions), self.seed, step, attempt))
        return [q for q in others if q.question_id not in known][: max(0, missing)]

    def _score(self, trajectory: Trajectory) -> Trajectory:
        return score(trajectory, self._preset, self.context)

    def _prepare(self, trajectory: Trajectory, number: int) -> tuple[StepRollout, int]:
        """Rows and credit of a rollout; rows beyond the token limits are left out, and counted."""
        rows = rows_of(trajectory, number)
        fitting = tuple(
            row
            for row in rows
            if len(row.prompt_ids) <= self.config.max_prompt_tokens
            and len(row.completion_ids) <= self.config.max_completion_tokens
        )
        earned = turn_rewards(trajectory, self.context) if self.config.credit == "turn" else {}
        turns = tuple(
            CreditTurn(
                tokens=sum(row.mask),
                action=row.action,
                reward=earned.get(row.turn, 0.0),
                sections=self._sections(row),
            )
            for row in fitting
        )
        reward = 0.0 if trajectory.reward is None else trajectory.reward
        group = trajectory.group_id or trajectory.question.question_id
        return StepRollout(fitting, CreditRollout(group, reward, turns, trajectory.rewards)), len(rows) - len(fitting)

    def _sections(self, row: TurnRow) -> tuple[str, ...]:
        """Sections of the trained tokens."""
        if self.config.credit != "section" or self.pieces is None:
            return ()
        sections = token_sections(self.pieces(row.completion_ids))
        return tuple(s for s, trained in zip(sections, row.mask, strict=True) if trained)


def draw(questions: Sequence[Question], count: int, seed: int, step: int, attempt: int = 0) -> list[Question]:
    """The questions of a step: a fresh permutation an epoch, so that each is asked once before any is asked twice.

    Attempts after the first (refills) are permutations of their own. A pure function of its arguments.
    """
    if attempt:
        order = list(range(len(questions)))
        random.Random(f"refill/{seed}/{step}/{attempt}").shuffle(order)
        return [questions[i] for i in order[:count]]
    chosen: list[Question] = []
    position = step * count
    while len(chosen) < count:
        epoch, offset = divmod(position, len(questions))
        order = list(range(len(questions)))
        random.Random(f"epoch/{seed}/{epoch}").shuffle(order)
        taken = order[offset : offset + count - len(chosen)]
        chosen += [questions[i] for i in taken]
        position += len(taken)
    return chosen


def weigh(rollouts: Sequence[StepRollout], config: GRPOConfig) -> list[WeightedRow]:
    """Rows of all processes' rollouts with an advantage and a weight a token; masked tokens get 0 for both."""
    credits = [rollout.credit for rollout in rollouts]
    credited = assign(
        credits,
        config.credit,
        baseline=config.baseline,
        scale=config.scale_by_std,
        turn_weight=config.turn_weight,
    )
    weights = token_weights(credits, config.normalisation, config.max_completion_tokens)
    weighted = []
    for rollout, turns, weight in zip(rollouts, credited, weights, strict=True):
        for row, values in zip(rollout.rows, turns, strict=True):
            own = iter(values)
            advantages = tuple(next(own) if trained else 0.0 for trained in row.mask)
            weighted.append(WeightedRow(row, advantages, tuple(weight if m else 0.0 for m in row.mask)))
    return weighted


def summary(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Means of reward and of every component, and the shape of the episodes, for logging."""
    if not trajectories:
        return {}
    count = len(trajectories)
    rewards = [t.reward or 0.0 for t in trajectories]
    mean = sum(rewards) / count
    values = {
        "reward": mean,
        "reward_std": (sum((r - mean) ** 2 for r in rewards) / max(1, count - 1)) ** 0.5,
        "episodes": float(count),
        "turns": sum(len(t.turns) for t in trajectories) / count,
        "forced": sum(t.outcome == "forced" for t in trajectories) / count,
        "errors": sum(t.outcome == "error" for t in trajectories) / count,
    }
    for name in trajectories[0].rewards:
        values[f"rewards/{name}"] = sum(t.rewards.get(name, 0.0) for t in trajectories) / count
    return values
