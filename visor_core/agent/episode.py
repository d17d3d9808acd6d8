"""Episodes by the group: the reference driver (fixed rounds and batches) and the throughput driver (coroutines).

Reference mode: the same seed gives the same episodes, because batch membership is fixed by the order of the questions
and every completion's noise is keyed by (seed, step, group, rollout, turn). Throughput mode: each episode is a
coroutine, no turn waits for the slowest; keys are the same but engines promise no identity.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from visor_core.agent.actions import stop_strings
from visor_core.agent.environment import Environment
from visor_core.agent.state import EpisodeState, citations
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig
from visor_core.errors import PolicyError, VisorError
from visor_core.policies.base import BatchPolicy, ConnectedPolicy, Policy, Sampling
from visor_core.policies.replies import describe_empty
from visor_core.questions import Question

OnFinished = Callable[[Trajectory], None]
_SILENT_TURNS = 3
"""Empty replies in a row after which an episode is given up."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One episode to run: which question, which of its rollouts, and the identity its noise is keyed by."""

    question: Question
    number: int
    seed: int
    step: int
    temperature: float
    occurrence: int = 0

    @property
    def group(self) -> int:
        """Identity of the question's group inside a step, independent of the other questions."""
        return zlib.crc32(f"{self.question.question_id}#{self.occurrence}".encode())

    @property
    def group_id(self) -> str:
        """Shared by the rollouts of one question in one step."""
        again = f"#{self.occurrence}" if self.occurrence else ""
        return f"{step_prefix(self.seed, self.step)}{self.question.question_id}{again}"

    def sampling(self, turn: int, config: AgentConfig) -> Sampling:
        """How to sample turn `turn` (1-based): a reply ends with its action."""
        key = (self.seed, self.step, self.group, self.number, turn)
        stop = stop_strings(search=config.search_enabled, crop=config.crop_enabled, select=config.select_enabled)
        return Sampling(temperature=self.temperature, max_tokens=config.max_new_tokens, stop=stop, key=key)


def step_prefix(seed: int, step: int) -> str:
    """What the group ids of one step of a run begin with."""
    return f"{seed}-{step}-"


def rollouts_of(
    questions: Sequence[Question], *, rollouts: int = 1, seed: int = 0, step: int = 0, temperature: float = 0.0
) -> list[Rollout]:
    """All episodes to run, grouped by question; a question given twice makes two groups."""
    times: Counter[str] = Counter()
    planned = []
    for question in questions:
        occurrence = times[question.question_id]
        times[question.question_id] += 1
        planned += [Rollout(question, n, seed, step, temperature, occurrence) for n in range(rollouts)]
    return planned


def run_reference(
    env: Environment,
    policy: BatchPolicy,
    questions: Sequence[Question],
    *,
    rollouts: int = 1,
    seed: int = 0,
    step: int = 0,
    temperature: float = 0.0,
    batch_size: int = 128,
    on_finished: OnFinished | None = None,
) -> list[Trajectory]:
    """Run `rollouts` episodes a question in fixed rounds: each round completes one turn of a batch's running episodes.

    Returns:
        Finished trajectories, questions in order, rollouts of a question side by side.

    Raises:
        PolicyError: if the engine fails; episodes reported to `on_finished` before are kept by whoever stored them.
    """
    planned = rollouts_of(questions, rollouts=rollouts, seed=seed, step=step, temperature=temperature)
    finished: list[Trajectory] = []
    for start in range(0, len(planned), batch_size):
        finished += _run_batch(env, policy, planned[start : start + batch_size], on_finished)
    return finished


def _run_batch(
    env: Environment, policy: BatchPolicy, batch: Sequence[Rollout], on_finished: OnFinished | None
) -> list[Trajectory]:
    """One batch of episodes, round by round."""
    began = time.perf_counter()
    states = [env.start(r.question) for r in batch]
    done: dict[int, Trajectory] = {}
    while running := [i for i in range(len(batch)) if i not in done]:
        prompts = [env.prompt(states[i]) for i in running]
        samplings = [batch[i].sampling(len(states[i].turns) + 1, env.config) for i in running]
        for i, prompt, completion in zip(running, prompts, policy.complete_batch(prompts, samplings), strict=True):
            states[i] = env.step(states[i], completion, prompt)
            error = silence(states[i])
            if error or env.outcome(states[i]) is not None:
                seconds = time.perf_counter() - began
                done[i] = trajectory_of(env, policy, batch[i], states[i], error=error, seconds=seconds)
                if on_finished is not None:
                    on_finished(done[i])
    return [done[i] for i in range(len(batch))]


async def run_throughput(
    env: Environment,
    policy: Policy,
    questions: Sequence[Question],
    *,
    rollouts: int = 1,
    seed: int = 0,
    step: int = 0,
    temperature: float = 0.0,
    concurrency: int = 64,
    on_finished: OnFinished | None = None,
) -> list[Trajectory]:
    """Run episodes as coroutines, `concurrency` at a time; results in the order of the questions.

    An episode whose policy fails for good ends with outcome `error` and keeps its finished turns; the others go on.

    Raises:
        PolicyError: if every episode failed (the engine itself is at fault).
        VisorError: whatever the index or `on_finished` raises ends the run.
    """
    planned = rollouts_of(questions, rollouts=rollouts, seed=seed, step=step, temperature=temperature)
    results: dict[int, Trajectory] = {}
    queue = iter(enumerate(planned))
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(planned))):
                group.create_task(_work(env, policy, queue, results, on_finished))
    except ExceptionGroup as failures:
        first = failures.exceptions[0]
        if isinstance(first, VisorError):  # one line for the user, not a group of the same one
            raise first from failures
        raise
    finally:
        if isinstance(policy, ConnectedPolicy):
            await policy.disconnect()
    finished = [results[i] for i in range(len(planned))]
    if finished and all(t.outcome == "error" for t in finished):
        raise PolicyError(f"all {len(finished)} episodes failed; the first: {finished[0].error}")
    return finished


async def _work(
    env: Environment,
    policy: Policy,
    queue: Iterator[tuple[int, Rollout]],
    results: dict[int, Trajectory],
    on_finished: OnFinished | None,
) -> None:
    """One worker: takes the next episode whenever it finishes one."""
    for i, rollout in queue:
        results[i] = await run_episode(env, policy, rollout)
        if on_finished is not None:
            on_finished(results[i])


async def run_episode(
    env: Environment, policy: Policy, rollout: Rollout, *, on_turn: Callable[[EpisodeState], None] | None = None
) -> Trajectory:
    """One episode to its end; `on_turn` sees the state after every turn (a live display)."""
    began = time.perf_counter()
    state = await env.start_async(rollout.question)
    error = ""
    while not error and env.outcome(state) is None:
        prompt = env.prompt(state)
        sampling = rollout.sampling(len(state.turns) + 1, env.config)
        try:
            completion = await policy.complete(prompt, sampling)
        except PolicyError as failure:
            error = str(failure)
            break
        state = await env.step_async(state, completion, prompt)
        error = silence(state)
        if on_turn is not None:
            on_turn(state)
    return trajectory_of(env, policy, rollout, state, error=error, seconds=time.perf_counter() - began)


def silence(state: EpisodeState) -> str:
    """Why an episode has failed whose policy no longer says anything: its last three replies were empty; else "".

    A reply with recorded tokens is the policy's own doing, to be measured and trained; one without is a server's that
    filtered it, moved it elsewhere or called tools.
    """
    last = state.turns[-_SILENT_TURNS:]
    said = [describe_empty(turn.completion, turn.prompt.forced_prefix) for turn in last]
    if len(last) < _SILENT_TURNS or not all(said) or any(turn.completion.token_ids for turn in last):
        return ""
    return f"{_SILENT_TURNS} replies in a row said nothing; the last: {said[-1]}"


def trajectory_of(
    env: Environment, policy: Policy, rollout: Rollout, state: EpisodeState, *, error: str = "", seconds: float = 0.0
) -> Trajectory:
    """The record of a finished (or failed) episode."""
    identity = (
        env.config.strategy, policy.name, policy.checkpoint, env.index.tag, rollout.group_id,
        rollout.number, rollout.temperature, env.config.model_dump_json(),
    )  # fmt: skip
    ended = env.outcome(state)
    return Trajectory(
        trajectory_id=hashlib.sha256(repr(identity).encode()).hexdigest()[:16],
        question=rollout.question,
        strategy=env.config.strategy,
        policy=policy.name,
        checkpoint=policy.checkpoint,
        index_tag=env.index.tag,
        seed=rollout.seed,
        turns=state.turns,
        evidence=state.evidence.entries,
        answer=state.turns[-1].action.text if state.answered else "",
        citations=citations(state, env.facts),
        outcome="error" if error or ended is None else ended,
        group_id=rollout.group_id,
        error=error,
        seconds=seconds,
        config=env.config.model_dump_json(),
    )
