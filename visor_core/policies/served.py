"""What an OpenAI-compatible server says of the model it serves: its entry in `/v1/models`, and marks on its replies.

Servers differ: vLLM names the folder or hub id (`root`) and the longest context, hosted ones hardly more than the name,
some have no list. What is said and stays the same identifies the weights as far as a server can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx

from visor_core.config import ServerConfig
from visor_core.errors import UnreachableError
from visor_core.policies.address import Address
from visor_core.policies.base import Completion

STAYS = ("id", "root", "max_model_len")
"""Fields of a model's entry that stay while the same weights are served."""
KEPT = (*STAYS, "created", "owned_by", "parent")
"""Fields of an entry worth recording."""
FINGERPRINT = "system_fingerprint"
"""A server's mark on a reply, for its weights and configuration together."""
_PASSING = frozenset({408, 429, 502, 503, 504})
"""Statuses of a server that is starting or busy."""


async def model_card(client: httpx.AsyncClient, address: Address, model: str, server: ServerConfig) -> dict[str, Any]:
    """The recorded fields of a model's entry in the server's list; empty where there is no list or no such entry.

    Raises:
        PolicyError: if the server does not answer, `server.retries` further tries included.
    """
    fault = ""
    for attempt in range(server.retries + 1):
        try:
            async with asyncio.timeout(server.timeout_seconds):
                response = await client.get(address.at("models"))
        except (TimeoutError, httpx.TimeoutException):
            fault = f"no reply within {server.timeout_seconds:g} s"
        except (httpx.TransportError, httpx.DecodingError) as error:
            fault = address.masked(f"{type(error).__name__}: {error}")
        else:
            if response.status_code not in _PASSING:
                return _entry(response, model)
            fault = f"HTTP {response.status_code}"
        if attempt < server.retries:
            await asyncio.sleep(min(server.backoff_seconds * 2**attempt, server.max_backoff_seconds))
    raise UnreachableError(f"{address.base} does not answer after {server.retries + 1} tries: {fault}")


def _entry(response: httpx.Response, model: str) -> dict[str, Any]:
    """The entry of a model in a list of models; empty if the reply is no such list."""
    try:
        listed = response.json()["data"] if response.status_code == httpx.codes.OK else []
        entry: dict[str, Any] = next((item for item in listed if item["id"] == model), {})
        return {key: entry[key] for key in KEPT if entry.get(key) is not None}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def fingerprints(completions: Iterable[Completion]) -> tuple[str, ...]:
    """The marks on replies, each once, in the order of first sight."""
    marks = (completion.metadata.get(FINGERPRINT, "") for completion in completions)
    return tuple(dict.fromkeys(mark for mark in marks if mark))
