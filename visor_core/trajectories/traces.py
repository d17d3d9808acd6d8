"""Episodes as MLflow traces: an agent span for the episode, a model span for each turn, a retriever span for each
search and a tool span for each crop or selection. Sampled, because a trace an episode would swamp a training run.

A trace holds what a person needs to judge it: pages by the names of their files, the pictures the policy was shown,
the gold answer as an expectation, and whether the answer was right and supported as assessments that the page filters
by. Spans are written after the fact with the durations the trajectory recorded. Export is asynchronous in MLflow: call
`flush` before the process ends.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from visor_core.agent.trajectory import Trajectory, Turn
from visor_core.errors import DataError
from visor_core.scoring.answers import answer_score, rule_of
from visor_core.scoring.facts import supported

if TYPE_CHECKING:
    from visor_core.policies.base import ImageLoader, ImageRef, Message

_RETURNED = {"search": "RETRIEVER", "select": "TOOL", "crop": "TOOL"}
LONGEST_SIDE = 640
"""Pixels of a page's picture in a trace: enough to see what the policy saw, small beside the episode's own."""


@dataclass
class Shown:
    """How a trace shows pages: `name_of` a page id, and the pictures, if there is who draws them."""

    name_of: Callable[[str], str] = str
    images: ImageLoader | None = None
    _drawn: dict[ImageRef, Any] = field(default_factory=dict)

    def picture(self, ref: ImageRef) -> Any:
        """An attachment of the trace with the picture; its description where it cannot be drawn."""
        from mlflow.tracing.attachments import Attachment

        if self.images is None:
            return self.name_of(ref.page_id)
        if ref not in self._drawn:
            picture = self.images(ref).convert("RGB")
            picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            file = io.BytesIO()
            picture.save(file, "WEBP", quality=80)
            self._drawn[ref] = Attachment(content_type="image/webp", content_bytes=file.getvalue())
        return self._drawn[ref]


def sampled(trajectories: Sequence[Trajectory], share: float, least: int = 0) -> list[Trajectory]:
    """The traced share of some episodes, at least so many; decided by their ids, so that it is the same each time."""
    count = max(round(share * len(trajectories)), min(least, len(trajectories)))
    chosen = {t.trajectory_id for t in sorted(trajectories, key=lambda t: _place(t.trajectory_id))[:count]}
    return [t for t in trajectories if t.trajectory_id in chosen]


def _place(trajectory_id: str) -> bytes:
    return hashlib.sha256(trajectory_id.encode()).digest()


def log_traces(
    trajectories: Iterable[Trajectory],
    *,
    client: Any,
    experiment_id: str,
    run_id: str = "",
    model_id: str = "",
    shown: Shown | None = None,
) -> list[str]:
    """Write episodes as traces.

    Args:
        client: an `mlflow.MlflowClient`.
        run_id: the run the traces belong to.
        model_id: the logged model that played.
        shown: how pages are shown; by their ids and without pictures otherwise.

    Returns:
        The ids of the traces, in the order of the episodes.

    Raises:
        DataError: if MLflow refuses to start a trace (it logs why and hands out a span that goes nowhere).
    """
    shown = shown or Shown()
    return [_log(t, client, experiment_id, run_id, model_id, shown) for t in trajectories]


def flush() -> None:
    """Wait until every trace is written."""
    import mlflow

    mlflow.flush_trace_async_logging()


def _log(t: Trajectory, client: Any, experiment_id: str, run_id: str, model_id: str, shown: Shown) -> str:
    now = time.time_ns()
    measured = sum(_nanoseconds(turn.completion.seconds) + _nanoseconds(turn.observation.seconds) for turn in t.turns)
    length = measured + 2 * len(t.turns) + 2
    start = now - length
    root = client.start_trace(
        name="episode",
        span_type="AGENT",
        # As a chat, of which the list of traces shows the words and not the JSON.
        inputs={"messages": [{"role": "user", "content": t.question.question}]},
        attributes={
            "policy": t.policy,
            "checkpoint": t.checkpoint.rpartition("/assets/")[2],
            "policy_identity": t.policy_identity,
            "corpus": t.corpus,
            "index_tag": t.index_tag,
            "group": t.group_id,
            **({"mlflow.modelId": model_id} if model_id else {}),
        },
        tags={
            "visor.trajectory": t.trajectory_id,
            "visor.question": t.question.question_id,
            "visor.policy": t.policy,
            "visor.strategy": t.strategy,
            "visor.outcome": t.outcome,
        },
        experiment_id=experiment_id,
        start_time_ns=start,
        run_id=run_id or None,
    )
    if "NO_OP" in root.trace_id:
        raise DataError(f"MLflow did not start a trace for {t.trajectory_id}: its log names the reason")
    moment = start + 1
    for turn in t.turns:
        moment = _log_turn(turn, client, root, moment, shown)
    _assess(t, root.trace_id, shown)
    client.end_trace(
        root.trace_id,
        outputs={
            "choices": [{"message": {"role": "assistant", "content": t.answer or t.outcome}}],
            "answer": t.answer,
            "citations": [f"{c.document}, page {c.page}" for c in t.citations],
            "evidence": [f"{e.document}, page {e.page}: {e.observation}" for e in t.evidence],
        },
        attributes={"outcome": t.outcome, "turns": len(t.turns), "reward": t.reward, **_rewards(t)},
        status="ERROR" if t.outcome == "error" else "OK",
        end_time_ns=moment + 1,
    )
    return str(root.trace_id)


def _assess(t: Trajectory, trace_id: str, shown: Shown) -> None:
    """Gold, judgement and what the list of traces says of an episode, written with its trace in one go."""
    from mlflow.entities import AssessmentSource, Expectation, Feedback
    from mlflow.tracing.trace_manager import InMemoryTraceManager

    source = AssessmentSource(source_type="CODE", source_id=f"visor/{rule_of(t.question)}")
    gold = AssessmentSource(source_type="HUMAN", source_id=t.question.benchmark or "question set")
    found: list[Any] = []
    if t.question.answers:
        found.append(Expectation(name="expected_answer", value=" | ".join(t.question.answers), source=gold))
    if t.question.gold_pages:
        pages = [shown.name_of(page) for page in t.question.gold_pages]
        found.append(Expectation(name="expected_pages", value=json.dumps(pages, ensure_ascii=False), source=gold))
    score = answer_score(t.question, t.answer)
    if t.outcome == "error":
        found.append(Feedback(name="correct", error=t.error or "the episode came to no end", source=source))
    elif score is not None:
        said = f"answered {t.answer!r}, expected {' or '.join(map(repr, t.question.answers)) or 'no answer'}"
        found += [
            Feedback(name="correct", value=score >= 1.0, rationale=f"{said}: {score:.2f}", source=source),
            Feedback(name="supported", value=supported(t), rationale="right, and all its facts read", source=source),
        ]
    with InMemoryTraceManager.get_instance().get_trace(trace_id) as trace:
        if trace is None:
            raise DataError(f"MLflow lost the trace of {t.trajectory_id} before it was ended")
        for assessment in found:
            assessment.trace_id = trace_id
            trace.info.assessments.append(assessment)
        # In the list of traces: words, rather than the JSON of all that goes in and comes out.
        trace.info.request_preview = t.question.question
        trace.info.response_preview = t.answer or t.outcome


def _log_turn(turn: Turn, client: Any, root: Any, moment: int, shown: Shown) -> int:
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
        inputs={"messages": [_message(message, shown) for message in turn.prompt.messages]},
        attributes={
            **{name: count for name, count in counts.items() if count is not None},
            "images": [shown.name_of(ref.page_id) for ref in turn.prompt.images],
            "forced": turn.forced,
            "well_formed": turn.action.well_formed,
        },
        start_time_ns=moment,
    )
    moment += _nanoseconds(c.seconds) + 1
    reply = {"choices": [{"message": {"role": "assistant", "content": c.text}}]}
    client.end_span(root.trace_id, model.span_id, outputs=reply, end_time_ns=moment)
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
    returned: Any
    if kind == "RETRIEVER":
        returned = [
            {"page_content": shown.name_of(i.page_id), "metadata": {"doc_uri": shown.name_of(i.page_id)}}
            for i in o.images
        ]
    else:
        crops = [[shown.name_of(i.page_id), *i.box.as_tuple()] for i in o.images]
        returned = {"kind": o.kind, "fault": o.fault, "images": crops}
    moment += _nanoseconds(o.seconds) + 1
    client.end_span(
        root.trace_id,
        span.span_id,
        outputs=returned,
        attributes={"ranking": [shown.name_of(page) for page in o.ranking]},
        status="ERROR" if o.kind == "retry" else "OK",
        end_time_ns=moment,
    )
    return moment


def _message(message: Message, shown: Shown) -> dict[str, Any]:
    """A message as MLflow's page draws a chat: its texts, and its pictures with their names."""
    content: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        elif shown.images is None:
            content.append({"type": "text", "text": f"[{shown.name_of(part.page_id)}]"})
        else:
            content.append({"type": "text", "text": f"[{shown.name_of(part.page_id)}]"})
            content.append({"type": "image_url", "image_url": {"url": shown.picture(part)}})
    return {"role": message.role, "content": content}


def _rewards(t: Trajectory) -> dict[str, float]:
    return {f"reward.{name}": value for name, value in t.rewards.items()}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
