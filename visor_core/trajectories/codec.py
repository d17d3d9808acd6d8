"""Trajectories as plain JSON values and back, without loss.

Used by the store for its segments and its Parquet columns. Pixels never occur: a picture is (page, box, shown size).
"""

from __future__ import annotations

from typing import Any

from visor_core.agent.trajectory import Action, Citation, EvidenceEntry, Observation, Trajectory, Turn
from visor_core.errors import DataError
from visor_core.geometry import Box
from visor_core.policies.base import Completion, ImageRef, Message, Part, Prompt
from visor_core.questions import Fact, Question

Json = dict[str, Any]


def encode_trajectory(t: Trajectory) -> Json:
    """One trajectory as a JSON object."""
    return {
        **encode_episode(t),
        "turns": [encode_turn(turn) for turn in t.turns],
    }


def decode_trajectory(data: Json) -> Trajectory:
    """The trajectory a JSON object stands for.

    Raises:
        DataError: naming the trajectory and the field at fault.
    """
    try:
        return Trajectory(
            trajectory_id=data["trajectory_id"],
            question=decode_question(data["question"]),
            strategy=data["strategy"],
            policy=data["policy"],
            checkpoint=data["checkpoint"],
            index_tag=data["index_tag"],
            seed=data["seed"],
            turns=tuple(decode_turn(turn) for turn in data["turns"]),
            evidence=tuple(decode_entry(e) for e in data["evidence"]),
            answer=data["answer"],
            citations=tuple(Citation(c[0], c[1], c[2], _box(c[3])) for c in data["citations"]),
            outcome=data["outcome"],
            group_id=data["group_id"],
            error=data["error"],
            seconds=data["seconds"],
            reward=data["reward"],
            rewards=data["rewards"],
            config=data["config"],
            index_config=data["index_config"],
            corpus=data["corpus"],
            policy_identity=data["policy_identity"],
            created=data["created"],
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        name = data.get("trajectory_id", "without an id")
        raise DataError(f"trajectory {name} has another shape ({error!r}): make it again") from error


def encode_episode(t: Trajectory) -> Json:
    """Everything of a trajectory but its turns."""
    return {
        "trajectory_id": t.trajectory_id,
        "question": encode_question(t.question),
        "strategy": t.strategy,
        "policy": t.policy,
        "checkpoint": t.checkpoint,
        "index_tag": t.index_tag,
        "seed": t.seed,
        "evidence": [encode_entry(e) for e in t.evidence],
        "answer": t.answer,
        "citations": [[c.page_id, c.document, c.page, _numbers(c.box)] for c in t.citations],
        "outcome": t.outcome,
        "group_id": t.group_id,
        "error": t.error,
        "seconds": t.seconds,
        "reward": t.reward,
        "rewards": t.rewards,
        "config": t.config,
        "index_config": t.index_config,
        "corpus": t.corpus,
        "policy_identity": t.policy_identity,
        "created": t.created,
    }


def encode_turn(turn: Turn) -> Json:
    """One turn."""
    return {
        "index": turn.index,
        "prompt": encode_prompt(turn.prompt),
        "completion": encode_completion(turn.completion),
        "action": encode_action(turn.action),
        "observation": encode_observation(turn.observation),
        "evidence_added": [encode_entry(e) for e in turn.evidence_added],
        "forced": turn.forced,
    }


def decode_turn(data: Json) -> Turn:
    """One turn."""
    return Turn(
        index=data["index"],
        prompt=decode_prompt(data["prompt"]),
        completion=decode_completion(data["completion"]),
        action=decode_action(data["action"]),
        observation=decode_observation(data["observation"]),
        evidence_added=tuple(decode_entry(e) for e in data["evidence_added"]),
        forced=data["forced"],
    )


def encode_prompt(prompt: Prompt) -> Json:
    """Messages with references for pictures."""
    messages = [
        {"role": m.role, "content": [p if isinstance(p, str) else _encode_image(p) for p in m.content]}
        for m in prompt.messages
    ]
    return {"messages": messages, "forced_prefix": prompt.forced_prefix}


def decode_prompt(data: Json) -> Prompt:
    """Messages with references for pictures."""

    def part(value: Any) -> Part:
        return value if isinstance(value, str) else _decode_image(value)

    messages = tuple(Message(m["role"], tuple(part(p) for p in m["content"])) for m in data["messages"])
    return Prompt(messages, data["forced_prefix"])


def encode_completion(c: Completion) -> Json:
    """A reply with its ids and log-probabilities."""
    return {
        "text": c.text,
        "token_ids": list(c.token_ids),
        "logprobs": list(c.logprobs),
        "prompt_ids": list(c.prompt_ids),
        "prompt_tokens": c.prompt_tokens,
        "image_tokens": c.image_tokens,
        "cached_tokens": c.cached_tokens,
        "finish_reason": c.finish_reason,
        "seconds": c.seconds,
        "cost": c.cost,
        "metadata": c.metadata,
        "completion_tokens": c.completion_tokens,
        "sampled": c.sampled,
    }


def decode_completion(data: Json) -> Completion:
    """A reply with its ids and log-probabilities."""
    ids = {key: tuple(data[key]) for key in ("token_ids", "logprobs", "prompt_ids")}
    return Completion(**{**data, **ids})


def encode_action(a: Action) -> Json:
    """What a reply asked for."""
    return {
        "kind": a.kind,
        "text": a.text,
        "box": list(a.box) if a.box else None,
        "choice": a.choice,
        "thought": a.thought,
        "verdict": a.verdict,
        "citations": list(a.citations),
        "well_formed": a.well_formed,
    }


def decode_action(data: Json) -> Action:
    """What a reply asked for."""
    box = data["box"]
    return Action(
        **{
            **data,
            "box": (box[0], box[1], box[2], box[3]) if box else None,
            "citations": tuple(data["citations"]),
        }
    )


def encode_observation(o: Observation) -> Json:
    """What came back."""
    return {
        "kind": o.kind,
        "images": [_encode_image(i) for i in o.images],
        "message": o.message,
        "ranking": list(o.ranking),
        "fault": o.fault,
        "seconds": o.seconds,
        "names": list(o.names),
    }


def decode_observation(data: Json) -> Observation:
    """What came back."""
    images = tuple(_decode_image(i) for i in data["images"])
    seconds = data.get("seconds", 0.0)  # not every record has measured it
    return Observation(
        data["kind"], images, data["message"], tuple(data["ranking"]), data["fault"], seconds, tuple(data["names"])
    )


def encode_entry(e: EvidenceEntry) -> Json:
    """One ledger line."""
    return {
        "index": e.index,
        "page_id": e.page_id,
        "document": e.document,
        "page": e.page,
        "observation": e.observation,
        "kind": e.kind,
        "box": _numbers(e.box),
        "supersedes": e.supersedes,
    }


def decode_entry(data: Json) -> EvidenceEntry:
    """One ledger line."""
    return EvidenceEntry(**{**data, "box": _box(data["box"])})


def encode_question(q: Question) -> Json:
    """A question with its gold."""
    return {
        "question_id": q.question_id,
        "question": q.question,
        "answers": list(q.answers),
        "benchmark": q.benchmark,
        "split": q.split,
        "partition": q.partition,
        "answer_format": q.answer_format,
        "gold_pages": list(q.gold_pages),
        "gold_boxes": [_numbers(b) for b in q.gold_boxes],
        "gold_facts": [[f.subject, f.field, f.value, f.page_id, _numbers(f.box), f.needs_crop] for f in q.gold_facts],
        "hops": q.hops,
        "evidence_sources": list(q.evidence_sources),
        "answerable": q.answerable,
        "metadata": q.metadata,
    }


def decode_question(data: Json) -> Question:
    """A question with its gold."""
    return Question(
        **{
            **data,
            "answers": tuple(data["answers"]),
            "gold_pages": tuple(data["gold_pages"]),
            "gold_boxes": tuple(Box(*b) for b in data["gold_boxes"]),
            "gold_facts": tuple(Fact(s, f, v, p, Box(*b), c) for s, f, v, p, b, c in data["gold_facts"]),
            "evidence_sources": tuple(data["evidence_sources"]),
        }
    )


def _encode_image(i: ImageRef) -> Json:
    return {"page_id": i.page_id, "width": i.width, "height": i.height, "box": _numbers(i.box)}


def _decode_image(data: Json) -> ImageRef:
    return ImageRef(data["page_id"], data["width"], data["height"], Box(*data["box"]))


def _numbers(box: Box | None) -> list[float] | None:
    return list(box.as_tuple()) if box is not None else None


def _box(numbers: list[float] | None) -> Box | None:
    return Box(*numbers) if numbers is not None else None
