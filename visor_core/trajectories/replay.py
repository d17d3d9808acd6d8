"""Replay: rebuild every context of a stored trajectory and compare it with what the policy was given.

A context is a pure function of the turns before it and the episode's configuration, both of which are in the record.
Given an encoder (the one processor path of `policies.encoding`), the comparison is token for token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from visor_core.agent.context import build_prompt, compactions
from visor_core.agent.environment import Environment
from visor_core.agent.state import EpisodeState
from visor_core.agent.trajectory import Trajectory, Turn
from visor_core.config import AgentConfig
from visor_core.errors import DataError
from visor_core.policies.base import Prompt

Encode = Callable[[Prompt], Sequence[int]]
"""Prompt → token ids, image placeholders expanded."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay found. Turn numbers are 1-based; `tokens_compared` counts prompt tokens compared one by one."""

    trajectory_id: str
    turns: int
    different_contexts: tuple[int, ...] = ()
    different_tokens: tuple[int, ...] = ()
    tokens_compared: int = 0
    different_observations: tuple[int, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether nothing differed."""
        return not (self.different_contexts or self.different_tokens or self.different_observations)


def config_of(trajectory: Trajectory) -> AgentConfig:
    """The configuration the episode ran under.

    Raises:
        DataError: if the record holds none, or one of another shape.
    """
    if not trajectory.config:
        raise DataError(f"trajectory {trajectory.trajectory_id} holds no configuration: it cannot be replayed")
    try:
        return AgentConfig.model_validate_json(trajectory.config)
    except ValidationError as error:
        raise DataError(
            f"trajectory {trajectory.trajectory_id} was made under another configuration schema "
            f"({error.error_count()} fields differ): replay it with the version that made it"
        ) from error


def evidence_compactions(trajectory: Trajectory) -> int | None:
    """How often the ledger was shrunk to its budget; None where the record holds no configuration."""
    if not trajectory.config:
        return None
    return compactions(EpisodeState(trajectory.question, trajectory.turns), config_of(trajectory))


def states(trajectory: Trajectory) -> list[EpisodeState]:
    """The state before each turn."""
    return [EpisodeState(trajectory.question, trajectory.turns[:i]) for i in range(len(trajectory.turns))]


def rebuild(trajectory: Trajectory) -> list[Prompt]:
    """Every context of the episode, rebuilt."""
    config = config_of(trajectory)
    return [build_prompt(state, config) for state in states(trajectory)]


def replay(
    trajectory: Trajectory, *, encode: Encode | None = None, environment: Environment | None = None
) -> ReplayReport:
    """Compare every rebuilt context with the recorded one.

    Args:
        encode: also compares token ids, for turns that recorded theirs.
        environment: also plays the recorded replies again and compares what the index returns.
    """
    contexts, tokens, compared = [], [], 0
    for turn, prompt in zip(trajectory.turns, rebuild(trajectory), strict=True):
        if prompt != turn.prompt:
            contexts.append(turn.index)
        if encode is not None and turn.completion.prompt_ids:
            ids = tuple(encode(prompt))
            compared += len(ids)
            if ids != turn.completion.prompt_ids:
                tokens.append(turn.index)
    observations = _reenact(trajectory, environment) if environment is not None else ()
    return ReplayReport(
        trajectory.trajectory_id, len(trajectory.turns), tuple(contexts), tuple(tokens), compared, observations
    )


def _reenact(trajectory: Trajectory, environment: Environment) -> tuple[int, ...]:
    """Turns whose observation or evidence differs when the recorded replies are played on an index again."""
    state = environment.start(trajectory.question)
    for turn in trajectory.turns[len(state.turns) :]:
        state = environment.step(state, turn.completion)
    return tuple(a.index for a, b in zip(trajectory.turns, state.turns, strict=True) if _result(a) != _result(b))


def _result(turn: Turn) -> tuple[object, ...]:
    return (turn.action, turn.observation, turn.evidence_added)
