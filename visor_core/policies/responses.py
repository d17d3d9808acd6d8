"""What an HTTP response of a chat server amounts to: its error and how long it asks to wait, or a completion."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from visor_core.config import ServerConfig
from visor_core.policies.base import Completion, Prompt, Sampling
from visor_core.policies.dialect import Dialect, error_in, read_body, refusal_text
from visor_core.policies.replies import read_message, stop_end, with_prefix, with_stop, with_thought
from visor_core.policies.served import FINGERPRINT


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it was sent: its body, and the dialect it was written in."""

    body: dict[str, Any]
    dialect: Dialect
    changed: str


def outcome(response: httpx.Response) -> tuple[int, str, Any]:
    """A response's status, what its error says, and its body as read; HTTP 200 with an error counts as that error."""
    if response.status_code != httpx.codes.OK:
        return response.status_code, refusal_text(response.text), None
    try:
        reply = read_body(response.text)
    except (ValueError, KeyError, TypeError, AttributeError):
        return response.status_code, "", None
    found = error_in(reply)
    return (response.status_code, "", reply) if found is None else (*found, None)


def retry_after(response: httpx.Response, now: datetime | None = None) -> float:
    """Seconds the server asks to wait, which it says as a number or as a date (RFC 9110, 10.2.3); 0 if it does not."""
    value = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if until.tzinfo is None:  # a date is GMT, whether it says so or not
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())


def completion_of(
    prompt: Prompt, sampling: Sampling, sent: Sent, reply: Any, seconds: float, server: ServerConfig
) -> Completion:
    """The reply to a prompt as a completion, at the server's prices.

    Raises:
        ValueError, KeyError, IndexError, TypeError, AttributeError: if it is of another shape.
    """
    usage = reply.get("usage") or {}
    prompt_tokens = int(usage.get("prompt_tokens") or 0)
    completion_tokens = int(usage.get("completion_tokens") or 0)
    cost = (prompt_tokens * server.prompt_price + completion_tokens * server.completion_price) / 1e6
    choice = reply["choices"][0]
    content, reasoning, kept = read_message(choice["message"])
    token_ids = tuple(int(t) for t in choice.get("token_ids") or ())
    logprobs = tuple(float(t["logprob"]) for t in (choice.get("logprobs") or {}).get("content") or ())
    complete = len(token_ids) == len(logprobs) > 0
    text = with_prefix(with_thought(content, reasoning, sampling.thought), prompt.forced_prefix, sampling.thought)
    finish_reason = str(choice.get("finish_reason") or "")
    stopped_at = choice.get("stop_reason", "")
    # A server that names what stopped it says with null or a token that no stop string did.
    if "stop" in sent.body and finish_reason == "stop" and content and isinstance(stopped_at, str):
        text = with_stop(text, sampling.stop, stopped_at or None)
    end = None if complete else stop_end(text, sampling.stop, sampling.thought)
    if sent.changed:
        kept["not_as_asked"] = sent.changed
    return Completion(
        # Lone surrogates, which JSON can spell, cannot be stored.
        text=text[:end].encode("utf-8", "replace").decode("utf-8"),
        token_ids=token_ids if complete else (),
        logprobs=logprobs if complete else (),
        prompt_ids=tuple(int(t) for t in reply.get("prompt_token_ids") or ()) if complete else (),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens or None,
        image_tokens=None if prompt.images else 0,
        cached_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
        finish_reason=finish_reason,
        seconds=seconds,
        cost=cost,
        metadata={
            **{name: value.encode("utf-8", "replace").decode("utf-8") for name, value in kept.items()},
            **({FINGERPRINT: str(mark)} if (mark := reply.get(FINGERPRINT)) else {}),
        },
    )


def stopped_in_thought(reply: Any, text: str, sampling: Sampling) -> bool:
    """Whether a reply that was sent stop strings ended at one while its thought was still open."""
    choice = reply["choices"][0]
    opened, closed = sampling.thought
    if choice.get("finish_reason") != "stop" or not isinstance(choice.get("stop_reason", ""), str):
        return False
    if opened not in text or closed in text:
        return False
    return any(stop in text or stop.replace("</", "<", 1) in text for stop in sampling.stop)
