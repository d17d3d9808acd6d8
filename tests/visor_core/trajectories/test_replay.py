"""Every context of a stored episode is rebuilt from its record."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.visor_core.trajectories.episodes import INDEX, episodes
from visor_core.agent.environment import Environment
from visor_core.agent.strategies import STRATEGIES, preset
from visor_core.config import AgentConfig
from visor_core.errors import DataError
from visor_core.policies.base import Prompt
from visor_core.trajectories.replay import config_of, replay
from visor_core.trajectories.store import TrajectoryWriter, compact, read_trajectories


@pytest.mark.parametrize("name", STRATEGIES)
def test_stored_episodes_replay_identically(name: str, tmp_path: Path) -> None:
    config = preset(name, AgentConfig(max_turns=5))
    with TrajectoryWriter(tmp_path) as writer:
        for trajectory in episodes(2, **config.model_dump()):
            writer.append(trajectory)
    compact(tmp_path)
    for trajectory in read_trajectories(tmp_path):
        report = replay(trajectory, environment=Environment(INDEX, config_of(trajectory)))
        assert report.identical
        assert report.turns == len(trajectory.turns)


def test_a_changed_record_is_noticed() -> None:
    (trajectory,) = episodes(1)
    other = replace(trajectory.question, question="another question")
    assert replay(replace(trajectory, question=other)).different_contexts == (1, 2, 3, 4)
    with pytest.raises(DataError, match="no configuration"):
        replay(replace(trajectory, config=""))


def test_token_ids_are_compared_where_they_were_recorded() -> None:
    (trajectory,) = episodes(1)

    def encode(prompt: Prompt) -> tuple[int, ...]:
        return (1, 2, 3) if len(prompt.images) < 2 else (1, 2, 4)

    report = replay(trajectory, encode=encode)
    assert report.tokens_compared == 12
    assert report.different_tokens == (3, 4)
    assert not report.identical
