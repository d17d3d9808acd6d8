"""What a server takes and how it answers: fields learnt from its refusals, error bodies, and replies that stream.

"OpenAI-compatible" servers differ in the fields they take: newer models refuse `max_tokens` or a temperature, strict
ones whatever they do not know, some answer as a stream only. A refusal names the field; it is learnt once. Pure
functions; policies/openai_compatible.py sends and retries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

_LEFT_OUT = ("temperature", "seed", "stop", "logprobs", "return_token_ids", "include_stop_str_in_output")
_OPTIONAL = (*_LEFT_OUT, "stream_options")
_PREFILL = ("continue_final_message", "add_generation_prompt")
_MEASURED = ("temperature", "seed", "logprobs", "return_token_ids")
"""Fields without which something else is measured than was asked for."""
_REFUSED = re.compile(
    r"unsupported|not (?:\w+ ){0,2}support|unknown|unrecogni[sz]ed|unexpected|extra (?:inputs?|fields?)|not permitted"
    r"|not allowed|cannot find|not available|deprecated|invalid (?:field|param|arg)|only the default|not a valid",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"context (?:length|window|size)|maximum (?:model |prompt )?length|max_model_len|prompt is too long"
    r"|too many (?:input )?tokens|exceeds? the (?:available )?context|longer than the maximum",
    re.IGNORECASE,
)
_TOO_MANY_PICTURES = re.compile(r"(?:at most|maximum(?: of)?|up to|only) (\d+) image|too many images", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one server has been found to take; a new one takes everything.

    Attributes:
        left_out: fields that it refused.
        completion_tokens: it wants `max_completion_tokens` for `max_tokens`.
        stream: it answers as a stream only.
        instruct: it cannot go on from an assistant message (`server.prefill: continue`).
    """

    left_out: frozenset[str] = frozenset()
    completion_tokens: bool = False
    stream: bool = False
    instruct: bool = False

    def dressed(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """A request as this server takes it."""
        body = {name: value for name, value in payload.items() if name not in self.left_out}
        if self.completion_tokens and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        if self.stream:
            body["stream"] = True
            if "stream_options" not in self.left_out:
                body["stream_options"] = {"include_usage": True}
        return body

    def changes(self, payload: Mapping[str, Any]) -> str:
        """What was asked of the policy and is left out of this request, where that changes what is measured."""
        names = [name for name in _MEASURED if name in self.left_out and name in payload]
        return ", ".join([*names, *(["prefill"] if self.instruct else [])])

    def learnt(self, refusal: str, sent: Mapping[str, Any], own: Collection[str]) -> tuple[Dialect, str]:
        """The dialect after a refusal of `sent`, and what was learnt in words; empty if nothing was.

        Args:
            refusal: the server's message.
            sent: the body that was refused.
            own: fields the user set (`server.extra_body`), which are never left out for them.
        """
        if _CONTEXT.search(refusal):
            return self, ""
        if "max_tokens" in sent and "max_tokens" not in own and "max_completion_tokens" in refusal:
            return replace(self, completion_tokens=True), "max_tokens is refused, max_completion_tokens is sent instead"
        names = [name for name in _OPTIONAL if name in sent and name not in own and _refuses(refusal, name)]
        if names:
            missed = [name for name in names if name in _MEASURED]
            told = f" (kept with each episode: {', '.join(missed)} cannot be set)" if missed else ""
            return replace(
                self, left_out=self.left_out | set(names)
            ), f"{', '.join(names)} is refused and left out from now on{told}"
        if any(name in sent and name not in own and _refuses(refusal, name) for name in _PREFILL):
            return replace(self, instruct=True), "replies cannot be continued: their opening is asked for in words"
        if not sent.get("stream") and "stream" not in own and _wants_stream(refusal):
            return replace(self, stream=True), "only streams are answered: replies are streamed from now on"
        return self, ""


def _refuses(refusal: str, name: str) -> bool:
    """Whether a message refuses a field: names it as one (quoted, or after its kind), and says that it is not taken."""
    named = rf"""["'`]{name}["'`]|\b(?:body|parameters?|fields?|arguments?|supplied|inputs?)\b[\s:.]{{1,3}}{name}\b"""
    return bool(re.search(named, refusal)) and bool(_REFUSED.search(refusal))


def _wants_stream(refusal: str) -> bool:
    return bool(re.search(r"\bstream(?:ing)?\b", refusal, re.IGNORECASE)) and bool(
        re.search(r"\bonly\b|\bmust\b|\benable\b|\brequired?\b", refusal, re.IGNORECASE)
    )


def remedy(status: int, refusal: str) -> str:
    """What a user can do about a refusal, beginning with a colon's worth of space; empty where nothing is known."""
    if _CONTEXT.search(refusal):
        return (
            "; the context is too long for this server: lower agent.context_tokens or agent.max_new_tokens (with --set)"
        )
    pictures = _TOO_MANY_PICTURES.search(refusal)
    if pictures:
        return f"; show fewer pictures at once: --set agent.max_images={pictures[1] or 1}"
    if status == 413:
        return "; the request is too large: lower agent.image.max_pixels or agent.max_images (with --set)"
    if status in (401, 403):
        return "; the key is missing or wrong: give it as --api-key env:NAME (or teacher.api_key)"
    if status == 404:
        return "; check the address, which ends with the version as in http://host:port/v1, and the model's name"
    return ""


def read_body(text: str) -> Any:
    """A reply's body: JSON, or the chunks of a stream put together to the reply they would have been.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: if it is neither.
    """
    stripped = text.lstrip()
    if stripped.startswith(("data:", ":", "event:", "id:", "retry:")):
        return _assembled(stripped)
    return json.loads(stripped)


def _assembled(text: str) -> Any:
    """One chat completion out of server-sent events; an error among them is the reply."""
    chunks = []
    for event in re.split(r"\r?\n\r?\n", text):
        lines = [line[5:].removeprefix(" ") for line in event.splitlines() if line.startswith("data:")]
        data = "\n".join(lines).strip()
        if data and data != "[DONE]":
            chunks.append(json.loads(data))
    if not chunks:
        raise ValueError("a stream without data")
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"message": message}
    reply: dict[str, Any] = {}
    for chunk in chunks:
        if chunk.get("error"):
            return chunk
        reply |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for part in chunk.get("choices") or ():
            if part.get("index", 0) == 0:
                _add(choice, message, part)
    return reply | {"choices": [choice]}


def _add(choice: dict[str, Any], message: dict[str, Any], part: Mapping[str, Any]) -> None:
    """One chunk's choice, added to those before it."""
    for name, value in part.items():
        if name in ("delta", "message"):
            for key, piece in (value or {}).items():
                if key == "tool_calls":
                    message.setdefault(key, []).extend(c for c in piece or () if (c.get("function") or {}).get("name"))
                elif isinstance(piece, str | list) and isinstance(message.get(key), type(piece)) and key != "role":
                    message[key] = message[key] + piece
                elif piece is not None:
                    message[key] = piece
        elif name == "token_ids":
            choice[name] = [*choice.get(name, ()), *(value or ())]
        elif name == "logprobs":
            content = (choice.get(name) or {}).get("content") or []
            choice[name] = {"content": [*content, *((value or {}).get("content") or ())]}
        elif value is not None:
            choice[name] = value


def error_in(reply: Any) -> tuple[int, str] | None:
    """Status and message of an error that came with HTTP 200; None for a reply without one.

    A proxy's own status is believed where it is one of an error, a refused field or a context that is too long is the
    request's fault (400), and anything else the server's (502), which is worth another try.
    """
    if not isinstance(reply, dict):
        return None
    error = reply.get("error")
    choices = reply.get("choices")
    if not error and isinstance(choices, list) and choices and isinstance(choices[0], dict):
        error = choices[0].get("error")
    if not error:
        return None
    message = said(error)
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str | int) and str(code).isdigit() and 400 <= int(code) < 600:
        return int(code), message
    words = f"{code} {message}".lower()
    if "rate" in words and "limit" in words:
        return 429, message
    return (400 if _REFUSED.search(message) or _CONTEXT.search(message) else 502), message


def said(error: Any) -> str:
    """An error body in one line: its message with the field it names, or all of it."""
    if isinstance(error, dict) and isinstance(error.get("error"), dict | str):
        error = error["error"]
    if isinstance(error, dict):
        text = str(error.get("message") or "")
        detail = error.get("detail")
        if not text and isinstance(detail, list):
            text = "; ".join(
                f"{'.'.join(str(p) for p in d.get('loc', ()))}: {d.get('msg', '')}"
                for d in detail
                if isinstance(d, dict)
            )
        text = text or (detail if isinstance(detail, str) else json.dumps(error))
        param = error.get("param")
        if isinstance(param, str) and param and param not in text:
            text = f"{text} ('{param}')"
    else:
        text = str(error)
    return " ".join(text.split())


def refusal_text(body: str) -> str:
    """What the body of an HTTP error says, in one line."""
    try:
        return said(json.loads(body))
    except ValueError:
        return (
            " ".join(re.sub(r"<[^>]{0,200}>", " ", body).split())
            if body.lstrip()[:1] == "<"
            else " ".join(body.split())
        )
