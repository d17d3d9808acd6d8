"""Traces: agent, model, retriever and tool spans in a real MLflow database."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.visor_core.trajectories.episodes import episodes
from visor_core.config import Home
from visor_core.tracking import Tracker
from visor_core.trajectories.traces import flush, is_sampled, log_traces

# Both come from inside MLflow 3.17 (https://github.com/mlflow/mlflow): a loader strategy SQLAlchemy 2.1 deprecates,
# and a type hint of its own model flavours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.mark.slow
def test_spans_of_an_episode(tmp_path: Path) -> None:
    tracker = Tracker(Home(tmp_path), "traces")
    trajectories = episodes(2)
    ids = log_traces(trajectories, client=tracker.client, experiment_id=tracker.experiment_id)
    flush()
    trace = tracker.client.get_trace(ids[0])
    spans = [(s.span_type, s.name) for s in trace.data.spans]
    assert spans[0] == ("AGENT", "episode")
    assert spans.count(("RETRIEVER", "search")) == 2
    assert spans.count(("TOOL", "crop")) == 1
    assert sum(kind == "CHAT_MODEL" for kind, _ in spans) == 4
    assert trace.data.spans[0].outputs["answer"] == "47"
    called = [s for s in trace.data.spans if s.span_type in ("RETRIEVER", "TOOL")]
    turns = trajectories[0].turns
    assert [s.end_time_ns - s.start_time_ns for s in called] == [
        round(t.observation.seconds * 1e9) + 1 for t in turns[:3]
    ]
    assert all(t.observation.seconds > 1e-6 for t in turns[:3])
    episode, *inside = (s.end_time_ns - s.start_time_ns for s in trace.data.spans)
    assert episode >= sum(inside)


def test_sampling_is_by_id_and_near_its_share() -> None:
    (episode,) = episodes(1)
    trajectories = [replace(episode, trajectory_id=f"episode {i}") for i in range(400)]
    traced = [t.trajectory_id for t in trajectories if is_sampled(t, 0.25)]
    assert traced == [t.trajectory_id for t in trajectories if is_sampled(t, 0.25)]
    assert 60 < len(traced) < 140
    assert not any(is_sampled(t, 0.0) for t in trajectories)
    assert all(is_sampled(t, 1.0) for t in trajectories)
