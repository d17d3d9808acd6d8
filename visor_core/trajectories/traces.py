"""Episodes as MLflow traces: an agent span for the episode, a model span for each turn, a retriever span for each
search and a tool span for each crop or selection. Sampled, because a trace an episode would swamp a training run.

Spans are written after the fact with the durations the trajectory recorded. Export is asynchronous in MLflow: call
`flush` before attaching feedback to a trace or ending the process.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from typing import Any

from visor_core.agent.trajectory import Trajectory, Turn
from visor_core.errors import DataError

_RETURNED = {"search": "RETRIEVER", "select": "TOOL", "crop": "TOOL"}


def is_sampled(trajectory: Trajectory, share: float) -> bool:
    """Whether an episode belongs to the traced share; decided by its id, so the same episodes are traced each time."""
    digest = hashlib.sha256(trajectory.trajectory_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def log_traces(
    trajectories: Iterable[Trajectory], *, client: Any, experiment_id: str, share: float = 1.0, run_id: str = ""
) -> list[str]:
    """Write the sampled episodes as traces.

    Args:
        client: an `mlflow.MlflowClient`.
        share: part of the episodes to trace, 0 to 1.
        run_id: the run the traces belong to.

    Returns:
        The ids of the traces, in the order of the episodes.

    Raises:
        DataError: if MLflow refuses to start a trace (it logs why and hands out a span that goes nowhere).
    """
    return [_log(t, client, experiment_id, run_id) for t in trajectories if is_sampled(t, share)]


def flush() -> None:
    """Wait until every trace is written."""
    import mlflow

    mlflow.flush_trace_async_logging()


def _log(t: Trajectory, client: Any, experiment_id: str, run_id: str) -> str:
    now = time.time_ns()
    measured = sum(_nanoseconds(turn.completion.seconds) + _nanoseconds(turn.observation.seconds) for turn in t.turns)
    length = measured + 2 * len(t.turns) + 2
    start = now - length
    tags = {"visor.trajectory": t.trajectory_id, "visor.strategy": t.strategy, "visor.outcome": t.outcome}
    if run_id:
        tags["mlflow.sourceRun"] = run_id
    root = client.start_trace(
        name="episode",
        span_type="AGENT",
        inputs={"question": t.question.question},
        attributes={
            "policy": t.policy,
            "checkpoint": t.checkpoint,
            "policy_identity": t.policy_identity,
            "corpus": t.corpus,
            "index_tag": t.index_tag,
            "group": t.group_id,
        },
        tags=tags,
        experiment_id=experiment_id,
        start_time_ns=start,
    )
    if "NO_OP" in root.trace_id:
        raise DataError(f"MLflow did not start a trace for {t.trajectory_id}: its log names the reason")
    moment = start + 1
    for turn in t.turns:
        moment = _log_turn(turn, client, root, moment)
    client.end_trace(
        root.trace_id,
        outputs={
            "answer": t.answer,
            "citations": [f"{c.document}, page {c.page}" for c in t.citations],
            "evidence": [e.observation for e in t.evidence],
        },
        attributes={"outcome": t.outcome, "turns": len(t.turns), "reward": t.reward, **_rewards(t)},
        status="ERROR" if t.outcome == "error" else "OK",
        end_time_ns=moment + 1,
    )
    return str(root.trace_id)


def _log_turn(turn: Turn, client: Any, root: Any, moment: int) -> int:
    """The model span of a turn and the span of what it called; returns the moment after both."""
    c = turn.completion
    counts = {
        "prompt_tokens": c.prompt_tokens or None,
        "image_tokens": c.image_tokens,
        "completion_tokens": c.tokens_out,
    }
    model = client.start_span(
        name=f"turn {turn.index}",
        trace_id=root.trace_id,
        parent_id=root.span_id,
        span_type="CHAT_MODEL",
        inputs={"messages": len(turn.prompt.messages), "images": [i.page_id for i in turn.prompt.images]},
        attributes={
            **{name: count for name, count in counts.items() if count is not None},
            "forced": turn.forced,
            "well_formed": turn.action.well_formed,
        },
        start_time_ns=moment,
    )
    moment += _nanoseconds(c.seconds) + 1
    client.end_span(root.trace_id, model.span_id, outputs={"text": c.text}, end_time_ns=moment)
    kind = _RETURNED.get(turn.action.kind)
    if kind is None:
        return moment
    asked: Any = turn.action.text or turn.action.choice or turn.action.box
    span = client.start_span(
        name=turn.action.kind,
        trace_id=root.trace_id,
        parent_id=root.span_id,
        span_type=kind,
        inputs={"query": asked},
        start_time_ns=moment,
    )
    o = turn.observation
    shown: Any
    if kind == "RETRIEVER":
        shown = [{"page_content": i.page_id, "metadata": {"page_id": i.page_id}} for i in o.images]
    else:
        shown = {"kind": o.kind, "fault": o.fault, "images": [[i.page_id, *i.box.as_tuple()] for i in o.images]}
    moment += _nanoseconds(o.seconds) + 1
    client.end_span(
        root.trace_id,
        span.span_id,
        outputs=shown,
        attributes={"ranking": list(o.ranking)},
        status="ERROR" if o.kind == "retry" else "OK",
        end_time_ns=moment,
    )
    return moment


def _rewards(t: Trajectory) -> dict[str, float]:
    return {f"reward.{name}": value for name, value in t.rewards.items()}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
