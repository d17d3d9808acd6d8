"""Traces: agent, model, retriever and tool spans in a real MLflow database."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.visor_core.trajectories.episodes import episodes
from visor_core.config import Home
from visor_core.policies.base import ImageRef
from visor_core.tracking import Tracker
from visor_core.trajectories.traces import Shown, flush, log_traces, sampled

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


@pytest.mark.slow
def test_failures_are_found_by_their_assessments(tmp_path: Path) -> None:
    """What a person judges an episode by: names of files, pictures, the gold answer, and whether it was right."""
    tracker = Tracker(Home(tmp_path), "traces")
    right, other = episodes(2)
    wrong = replace(other, question=replace(other.question, answers=("48",)))
    run = tracker.open_run("benchmark")
    shown = Shown(lambda page: f"report.pdf, page {int(page.rpartition('/')[2])}", _white)
    ids = log_traces(
        [right, wrong], client=tracker.client, experiment_id=tracker.experiment_id, run_id=run, shown=shown
    )
    flush()
    found, others = (
        tracker.client.search_traces(
            locations=[tracker.experiment_id], run_id=run, filter_string=f"feedback.correct = '{value}'"
        )
        for value in ("false", "true")
    )
    assert [[trace.info.trace_id for trace in traces] for traces in (found, others)] == [[ids[1]], [ids[0]]]
    said = {a.name: a.value for a in found[0].info.assessments}
    assert said["expected_answer"] == "48"
    assert said["expected_pages"] == '["report.pdf, page 1"]'
    assert said["correct"] is False
    (turn, *_) = (s for s in found[0].data.spans if s.span_type == "CHAT_MODEL" and "image_url" in str(s.inputs))
    parts = [part for message in turn.inputs["messages"] for part in message["content"]]
    named = [part["text"] for part in parts if part["type"] == "text" and part["text"].startswith("[")]
    assert named[0].startswith("[report.pdf, page")
    pictures = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert all(url.startswith("mlflow-attachment://") for url in pictures)
    drawn = list((tmp_path / "mlflow" / "artifacts").rglob("attachments/*"))
    assert drawn
    assert all(Image.open(BytesIO(path.read_bytes())).format == "WEBP" for path in drawn)
    (search, *_) = (s for s in found[0].data.spans if s.span_type == "RETRIEVER")
    assert search.outputs[0]["page_content"].startswith("report.pdf, page")


def _white(ref: ImageRef) -> Image.Image:
    return Image.new("RGB", (ref.width, ref.height), "white")


def test_sampling_is_by_id_and_of_its_share() -> None:
    (episode,) = episodes(1)
    trajectories = [replace(episode, trajectory_id=f"episode {i}") for i in range(400)]
    traced = [t.trajectory_id for t in sampled(trajectories, 0.25)]
    assert traced == [t.trajectory_id for t in sampled(trajectories, 0.25)]
    assert len(traced) == 100
    assert set(traced) > {t.trajectory_id for t in sampled(trajectories, 0.1)}
    assert len(sampled(trajectories[:20], 0.03, least=8)) == 8
    assert len(sampled(trajectories[:5], 0.03, least=8)) == 5
    assert sampled(trajectories, 0.0) == []
    assert len(sampled(trajectories, 1.0)) == 400
