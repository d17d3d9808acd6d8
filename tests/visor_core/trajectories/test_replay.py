"""Every context of a stored episode is rebuilt from its record."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.visor_core.trajectories.episodes import INDEX, episodes
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.strategies import STRATEGIES, preset
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig, IndexConfig
from visor_core.errors import DataError
from visor_core.policies.base import Prompt
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question
from visor_core.trajectories.replay import config_of, environment_of, replay
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


def _asked(config: AgentConfig, index_config: IndexConfig, **question: str) -> Trajectory:
    policy = ScriptedPolicy(
        lambda p: "<think>47</think><" + ("answer>47</answer>" if p.images else "search>staff</search>")
    )
    asked = replace(Question("q1", "acme staff", ("47",)), **question)
    return run_reference(Environment(INDEX, config, index_config), policy, [asked])[0]


@pytest.mark.parametrize(
    "other",
    [
        {"index": IndexConfig(mode="text")},
        {"index": IndexConfig(top_k=2)},
        {"agent": AgentConfig(window=4)},
        {"question": "borel staff"},
        {"partition": "p"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_an_episodes_id_holds_all_that_its_contexts_depend_on(other: dict[str, Any]) -> None:
    usual = _asked(AgentConfig(), IndexConfig())
    question = {name: value for name, value in other.items() if name in ("question", "partition")}
    changed = _asked(other.get("agent", AgentConfig()), other.get("index", IndexConfig()), **question)
    assert changed.trajectory_id != usual.trajectory_id
    assert _asked(AgentConfig(), IndexConfig()).trajectory_id == usual.trajectory_id


def test_an_episode_replays_under_its_own_index_settings(tmp_path: Path) -> None:
    with TrajectoryWriter(tmp_path) as writer:
        writer.append(_asked(AgentConfig(), IndexConfig(top_k=1, mode="text")))
    (stored,) = read_trajectories(tmp_path)
    assert len(stored.turns[0].observation.ranking) == 1
    assert replay(stored, environment=environment_of(stored, INDEX)).identical
    assert not replay(stored, environment=Environment(INDEX, config_of(stored))).identical


def test_nothing_of_a_record_is_taken_from_defaults() -> None:
    stored = _asked(AgentConfig(), IndexConfig())
    partial = json.loads(stored.config)
    del partial["crop"]["blank_std"]
    with pytest.raises(DataError, match=r"another configuration schema \(it does not say crop.blank_std\)"):
        config_of(replace(stored, config=json.dumps(partial)))
    with pytest.raises(DataError, match="holds no configuration"):
        environment_of(replace(stored, index_config=""), INDEX)
