"""What a model meant by what came back: its thought, its reply and its end, however engine or server cut them up.

Servers move the thought to a field of its own, chat templates open it in the prompt, stop strings are taken out, a
forced opening is repeated or left out. Here each is put in its place, as pure functions of the text. A thought's tags
come from `Sampling.thought`; nothing else of the agent's grammar is known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from visor_core.policies.base import Completion


def stop_end(text: str, stops: Sequence[str], thought: tuple[str, str] | None = None) -> int | None:
    """Where the first stop string ends, or None if there is none outside the thought.

    Args:
        stops: strings that end a reply.
        thought: the tags around a stretch whose stop strings do not count; one without its end goes on for ever, and
            one without its opening began in the prompt.
    """
    before, after = text, ""
    if thought is not None:
        opening, closing = text.find(thought[0]), text.find(thought[1])
        if closing >= 0 and not 0 <= opening < closing:
            before, after = "", text[closing:]
        elif opening >= 0:
            before, after = text[:opening], text[closing:] if closing >= 0 else ""
    for start, part in ((0, before), (len(text) - len(after), after)):
        found = [start + part.index(stop) + len(stop) for stop in stops if stop in part]
        if found:
            return min(found)
    return None


def with_thought(content: str, reasoning: str, thought: tuple[str, str]) -> str:
    """A reply with its thought in tags, from its text and what the server gave apart as its reasoning.

    A closing tag alone means that the prompt opened the thought. Reasoning with nothing after it is left open: a server
    finds no text where the model did not end its thought, so an action may stand in there.
    """
    opened, closed = thought
    if re.search(re.escape(opened), content, re.IGNORECASE):
        return content
    head, closing, rest = content.partition(closed)
    if closing and rest.strip():
        return f"{opened}{_joined(reasoning, head)}{closed}{rest}"
    if not reasoning.strip():
        return content
    said = reasoning.replace(opened, "").replace(closed, "").strip()
    return f"{opened}{said}{closed}{content}" if content.strip() else f"{opened}{said}"


def with_prefix(text: str, prefix: str, thought: tuple[str, str] | None = None) -> str:
    """A reply with the opening that was forced on it: put before what follows the thought, unless it occurs there."""
    if not prefix:
        return text
    start = 0
    if thought is not None and thought[1] in text:
        start = text.index(thought[1]) + len(thought[1])
    if _forced(prefix).search(text, start):
        return text
    return text[:start] + prefix + text[start:]


def after_prefix(text: str, prefix: str, thought: tuple[str, str] | None = None) -> str:
    """What follows the forced opening in a reply, all of it where there is none: what a model has yet to write."""
    if not prefix:
        return text
    start = 0
    if thought is not None and thought[1] in text and text.index(thought[1]) < text.rfind(prefix):
        start = text.index(thought[1])
    found = _forced(prefix).search(text, start)
    return text[found.end() :] if found else text


def _forced(prefix: str) -> re.Pattern[str]:
    """A forced opening as models repeat it: in any case, a tag with spaces inside as well."""
    tag = re.fullmatch(r"<(\w+)>", prefix)
    spelt = rf"<\s{{0,3}}{tag[1]}\s{{0,3}}>" if tag else re.escape(prefix)
    return re.compile(spelt, re.IGNORECASE)


def with_stop(text: str, stops: Sequence[str], stopped_at: object = None) -> str:
    """A reply with the closing tag that ended it, where the server took it out.

    Args:
        stops: closing tags that ended replies, as `</answer>`.
        stopped_at: the stop string the server names; None where it names none, so that the last element without its
            end tells.
    """
    if isinstance(stopped_at, str) and stopped_at in stops:
        return text if text.rstrip().endswith(stopped_at) else text + stopped_at
    opened = {stop: text.rfind(stop.replace("</", "<", 1)) for stop in stops if stop.startswith("</")}
    last = max(opened, key=lambda stop: opened[stop], default="")
    if not last or opened[last] < 0 or last in text[opened[last] :]:
        return text
    return text + last


def describe_empty(completion: Completion, prefix: str = "") -> str:
    """What to say of a reply without a word, its finish reason included; empty for one that says something."""
    text = completion.text
    if text.removeprefix(prefix).strip():
        return ""
    reason = completion.finish_reason or "not given"
    tools = completion.metadata.get("tool_calls", "")
    if tools:
        return f"no text, only calls of tools that were not offered: {tools} (finish reason {reason})"
    refusal = completion.metadata.get("refusal", "")
    if refusal:
        return f"an empty reply, refused: {refusal} (finish reason {reason})"
    return f"an empty reply (finish reason {reason})"


def read_message(message: dict[str, Any]) -> tuple[str, str, dict[str, str]]:
    """A chat message's text, the reasoning given apart from it, and what else is worth keeping (tools, a refusal).

    Raises:
        TypeError, KeyError, AttributeError: if it is no chat message.
    """
    text, inside = _read_content(message.get("content"))
    apart = message.get("reasoning_content") or message.get("reasoning") or ""
    reasoning = _joined(_plain(apart), inside)
    kept = {"reasoning": reasoning} if reasoning else {}
    calls = [call.get("function") or {} for call in message.get("tool_calls") or ()]
    if calls:
        kept["tool_calls"] = ", ".join(str(call.get("name", "?"))[:80] for call in calls[:8])
    if message.get("refusal"):
        kept["refusal"] = " ".join(str(message["refusal"]).split())[:300]
    return text, reasoning, kept


def _read_content(content: Any) -> tuple[str, str]:
    """Text and thoughts of a message's content: none, a string, or a list of parts."""
    if isinstance(content, list):
        texts, thoughts = [], []
        for part in content:
            kind = part.get("type", "text")
            if kind in ("text", "output_text"):
                texts.append(part["text"])
            elif kind in ("thinking", "reasoning"):
                thoughts.append(_plain(part.get("thinking") or part.get("reasoning") or part.get("text") or ""))
        return "".join(texts), "".join(thoughts)
    if not isinstance(content, str | None):
        raise TypeError(f"content is {type(content).__name__}")
    return content or "", ""


def _plain(value: Any) -> str:
    """A thought as text: a string, or a list of parts with text."""
    if isinstance(value, list):
        return "".join(_plain(part) for part in value)
    if isinstance(value, dict):
        return _plain(value.get("text") or value.get("thinking") or "")
    return str(value)


def _joined(*parts: str) -> str:
    return "\n".join(stripped for part in parts if (stripped := part.strip()))
