"""Replay: rebuild every context of a stored trajectory and compare it with what the policy was given.

A context is a pure function of the turns before it and the episode's configuration, both of which are in the record.
Given an encoder (the one processor path of `policies.encoding`), the comparison is token for token.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from visor_core.agent.context import build_prompt, compactions
from visor_core.agent.environment import Environment, SearchIndex
from visor_core.agent.state import EpisodeState
from visor_core.agent.trajectory import Trajectory, Turn
from visor_core.config import AgentConfig, IndexConfig, Section
from visor_core.errors import DataError
from visor_core.policies.base import Prompt

Settings = TypeVar("Settings", bound=Section)
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
    return _recorded(trajectory, AgentConfig, trajectory.config)


def index_config_of(trajectory: Trajectory) -> IndexConfig:
    """How the episode's searches ranked pages.

    Raises:
        DataError: if the record does not say, or in another shape.
    """
    return _recorded(trajectory, IndexConfig, trajectory.index_config)


def environment_of(trajectory: Trajectory, index: SearchIndex) -> Environment:
    """The environment the episode was played in, on its index: nothing of it is taken from defaults.

    Raises:
        DataError: if the record does not hold its settings, or in another shape.
    """
    return Environment(index, config_of(trajectory), index_config_of(trajectory))


def _recorded(trajectory: Trajectory, kind: type[Settings], text: str) -> Settings:
    """Recorded settings, every field of which must be in the record: a default may have changed since."""
    if not text:
        raise DataError(
            f"trajectory {trajectory.trajectory_id} holds no configuration ({kind.__name__}): it cannot be replayed"
        )
    try:
        settings = kind.model_validate_json(text)
    except ValidationError as error:
        raise DataError(
            f"trajectory {trajectory.trajectory_id} was made under another configuration schema "
            f"({error.error_count()} fields differ): replay it with the version that made it"
        ) from error
    if missing := _missing(settings.model_dump(mode="json"), json.loads(text)):
        raise DataError(
            f"trajectory {trajectory.trajectory_id} was made under another configuration schema (it does not say "
            f"{', '.join(missing)}): replay it with the version that made it"
        )
    return settings


def _missing(whole: dict[str, object], held: dict[str, object], place: str = "") -> list[str]:
    """The dotted names of fields that a record does not hold."""
    missing: list[str] = []
    for name, value in whole.items():
        if name not in held:
            missing.append(f"{place}{name}")
            continue
        inner = held[name]
        if isinstance(value, dict) and isinstance(inner, dict):
            missing += _missing(value, inner, f"{place}{name}.")
    return missing


def evidence_compactions(trajectory: Trajectory) -> int | None:
    """How often the ledger was shrunk to its budget; None where the record holds no configuration of this version."""
    try:
        config = config_of(trajectory)
    except DataError:
        return None
    return compactions(EpisodeState(trajectory.question, trajectory.turns), config)


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
