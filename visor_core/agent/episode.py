"""Episodes by the group: the reference driver (fixed rounds and batches) and the throughput driver (coroutines).

Reference mode: the same seed gives the same episodes, because batch membership is fixed by the order of the questions
and every completion's noise is keyed by (seed, step, group, rollout, turn). Throughput mode: each episode is a
coroutine, no turn waits for the slowest; keys are the same but engines promise no identity.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from visor_core.agent.actions import stop_strings
from visor_core.agent.environment import Environment
from visor_core.agent.prompts import stated_format
from visor_core.agent.state import EpisodeState, citations
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig
from visor_core.errors import DocumentError, PolicyError, VisorError
from visor_core.policies.base import BatchPolicy, Completion, ConnectedPolicy, Policy, Prompt, Sampling
from visor_core.policies.identity import digest_of
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
    identity: str | None = None,
) -> list[Trajectory]:
    """Run `rollouts` episodes a question in fixed rounds: each round completes one turn of a batch's running episodes.

    An episode that is shown a page which cannot be drawn ends with outcome `error`; the others go on without it.

    Args:
        identity: the digest that trajectories record; none asks the policy. A trainer names its run, whose group ids
            name seed and step: to read all weights at every step would cost as much as the step.

    Returns:
        Finished trajectories, questions in order, rollouts of a question side by side.

    Raises:
        PolicyError: if the engine fails; episodes reported to `on_finished` before are kept by whoever stored them.
    """
    planned = rollouts_of(questions, rollouts=rollouts, seed=seed, step=step, temperature=temperature)
    identity = digest_of(policy.identity()) if identity is None else identity
    finished: list[Trajectory] = []
    for start in range(0, len(planned), batch_size):
        finished += _run_batch(env, policy, identity, planned[start : start + batch_size], on_finished)
    return finished


def _run_batch(
    env: Environment, policy: BatchPolicy, identity: str, batch: Sequence[Rollout], on_finished: OnFinished | None
) -> list[Trajectory]:
    """One batch of episodes, round by round."""
    began = time.perf_counter()
    states = [env.start(r.question) for r in batch]
    done: dict[int, Trajectory] = {}
    while running := [i for i in range(len(batch)) if i not in done]:
        prompts = [env.prompt(states[i]) for i in running]
        samplings = [batch[i].sampling(len(states[i].turns) + 1, env.config) for i in running]
        for i, prompt, reply in zip(running, prompts, _complete(env, policy, prompts, samplings), strict=True):
            error = reply if isinstance(reply, str) else ""
            if not isinstance(reply, str):
                states[i] = env.step(states[i], reply, prompt)
                error = silence(states[i])
            if error or env.outcome(states[i]) is not None:
                seconds = time.perf_counter() - began
                done[i] = trajectory_of(env, policy, identity, batch[i], states[i], error=error, seconds=seconds)
                if on_finished is not None:
                    on_finished(done[i])
    return [done[i] for i in range(len(batch))]


def _complete(
    env: Environment, policy: BatchPolicy, prompts: Sequence[Prompt], samplings: Sequence[Sampling]
) -> list[Completion | str]:
    """The replies in order; for a prompt that shows a page which cannot be drawn, the reason."""
    try:
        return list(policy.complete_batch(prompts, samplings))
    except DocumentError:
        faults = [_undrawable(env, prompt) for prompt in prompts]
        if not any(faults):
            raise
    drawn = [i for i, fault in enumerate(faults) if not fault]
    replies = iter(_complete(env, policy, [prompts[i] for i in drawn], [samplings[i] for i in drawn]) if drawn else ())
    return [fault or next(replies) for fault in faults]


def _undrawable(env: Environment, prompt: Prompt) -> str:
    """Why a picture of a prompt cannot be drawn; empty if all can be."""
    try:
        for image in prompt.images:
            env.index(image)
    except DocumentError as error:
        return str(error)
    return ""


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
    identity: str | None = None,
    all_may_fail: bool = False,
) -> list[Trajectory]:
    """Run episodes as coroutines, `concurrency` at a time; results in the order of the questions.

    An episode whose policy fails for good, or that is shown a page which cannot be drawn, ends with outcome `error` and
    keeps its finished turns; the others go on.

    Args:
        identity: as in `run_reference`.
        all_may_fail: give failed episodes back even if there are no others.

    Raises:
        PolicyError: if every episode failed (the engine itself is at fault).
        VisorError: whatever the index or `on_finished` raises ends the run.
    """
    planned = rollouts_of(questions, rollouts=rollouts, seed=seed, step=step, temperature=temperature)
    results: dict[int, Trajectory] = {}
    queue = iter(enumerate(planned))
    identity = await asyncio.to_thread(lambda: digest_of(policy.identity())) if identity is None else identity
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(planned))):
                group.create_task(_work(env, policy, identity, queue, results, on_finished))
    except ExceptionGroup as failures:
        first = failures.exceptions[0]
        if isinstance(first, VisorError):  # one line for the user, not a group of the same one
            raise first from failures
        raise
    finally:
        if isinstance(policy, ConnectedPolicy):
            await policy.disconnect()
    finished = [results[i] for i in range(len(planned))]
    if finished and not all_may_fail and all(t.outcome == "error" for t in finished):
        raise PolicyError(f"all {len(finished)} episodes failed; the first: {finished[0].error}")
    return finished


async def _work(
    env: Environment,
    policy: Policy,
    identity: str,
    queue: Iterator[tuple[int, Rollout]],
    results: dict[int, Trajectory],
    on_finished: OnFinished | None,
) -> None:
    """One worker: takes the next episode whenever it finishes one."""
    for i, rollout in queue:
        results[i] = await run_episode(env, policy, rollout, identity=identity)
        if on_finished is not None:
            on_finished(results[i])


async def run_episode(
    env: Environment,
    policy: Policy,
    rollout: Rollout,
    *,
    on_turn: Callable[[EpisodeState], None] | None = None,
    identity: str | None = None,
) -> Trajectory:
    """One episode to its end; `on_turn` sees the state after every turn (a live display), `identity` is as above."""
    identity = await asyncio.to_thread(lambda: digest_of(policy.identity())) if identity is None else identity
    began = time.perf_counter()
    state = await env.start_async(rollout.question)
    error = ""
    while not error and env.outcome(state) is None:
        prompt = env.prompt(state)
        sampling = rollout.sampling(len(state.turns) + 1, env.config)
        try:
            completion = await policy.complete(prompt, sampling)
        except (PolicyError, DocumentError) as failure:
            error = str(failure)
            break
        state = await env.step_async(state, completion, prompt)
        error = silence(state)
        if on_turn is not None:
            on_turn(state)
    return trajectory_of(env, policy, identity, rollout, state, error=error, seconds=time.perf_counter() - began)


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
    env: Environment,
    policy: Policy,
    identity: str,
    rollout: Rollout,
    state: EpisodeState,
    *,
    error: str = "",
    seconds: float = 0.0,
) -> Trajectory:
    """The record of a finished (or failed) episode. `identity` is the digest of the policy's own."""
    question = rollout.question
    form = stated_format(question, env.config)
    decided_by = {
        **env.identity(),
        "policy": [policy.name, policy.checkpoint, identity],
        "rollout": [rollout.group_id, rollout.number, rollout.temperature],
        "question": [question.question, question.partition, *([form] if form else [])],
    }
    ended = env.outcome(state)
    return Trajectory(
        trajectory_id=hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()[:16],
        question=question,
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
        index_config=env.index_config.model_dump_json(),
        corpus=env.corpus_name,
        policy_identity=identity,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
