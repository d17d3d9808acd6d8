"""A policy behind any server that speaks OpenAI's chat completions (vLLM, SGLang, llama.cpp, hosted models).

Pictures travel as data URLs, so the server needs no access to documents. Calls are retried with backoff on 429, 5xx,
time-outs and broken connections, kept under a rate and a number in flight, and their cost is added up. Which fields a
server takes is learnt from its refusals (policies/dialect.py), what a reply means is read in policies/replies.py.
Left out: tools and provider-specific APIs.
"""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import random
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx

from visor_core.byte_cache import ByteCache
from visor_core.config import SecretReference, ServerConfig
from visor_core.errors import PolicyError, UnreachableError
from visor_core.network import client_options, without_secrets
from visor_core.policies.address import Address
from visor_core.policies.base import Closing, Completion, ImageLoader, ImageRef, Prompt, Sampling
from visor_core.policies.dialect import Dialect, read_body, remedy
from visor_core.policies.identity import Identity, policy_code
from visor_core.policies.responses import Sent, completion_of, outcome, retry_after, stopped_in_thought
from visor_core.policies.sampling import derive_seed
from visor_core.policies.served import STAYS, model_card

if TYPE_CHECKING:  # what a call costs decides no reply: it is no part of a policy's identity
    from visor_core.policies.calls import Account, Call, Outcome

_log = logging.getLogger(__name__)
# Control tokens of the widespread chat formats: in message text they could open a turn or forge a picture.
_CONTROL = re.compile(r"<\||<(?=/?(?:image|video|fake_token_around_image|end_of_utterance|start_of_turn|end_of_turn)>)")
_MOST_LESSONS = 8
"""Refusals that one request may be changed by: more fields than that are not sent."""


@dataclass
class Usage:
    """Running totals of one policy; `cost` in the currency of the server's prices."""

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class _Reply:
    """A reply as text and as read (None if it is neither JSON nor a stream), to what was sent.

    `call` and `entry` are those of the ledger, if there is one; no entry where the reply was kept from an earlier call.
    """

    sent: Sent
    text: str
    body: Any
    call: Call | None = None
    entry: int | None = None


class OpenAICompatiblePolicy(Closing):
    """`model` at `base_url` (up to and including `/v1`), asked as `server` says.

    `base_url` may hold a login or a key; the attribute of that name, and all that is printed or stored, does not.
    `account` keeps every call and what it cost on disk.

    Raises:
        PolicyError: if the address is not http(s), or none.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        images: ImageLoader,
        api_key: SecretReference | None = None,
        *,
        name: str = "",
        server: ServerConfig | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        account: Account | None = None,
    ) -> None:
        self._address = Address(base_url)
        self.name = name or model
        self.checkpoint = model
        self.base_url = self._address.base
        self.model = model
        self.server = server or ServerConfig()
        self.usage = Usage()
        self._images = images
        self._api_key = api_key
        self._transport = transport
        self._account = account
        self._pictures: ByteCache[ImageRef, str] = ByteCache(self.server.picture_cache_mib * 2**20)
        self._picture_lock = threading.Lock()
        self._dialect = Dialect()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._identity: Identity | None = None
        self._next_slot = 0.0
        # The delays need no reproducibility; a private generator leaves the global one alone.
        self._jitter = random.Random()

    def charge(self, account: Account) -> None:
        """Enter all further calls in an account; what its work has cost before counts against `server.max_cost`."""
        self._account = account
        for spent in account.spent():
            self.usage.requests += spent.paid
            self.usage.prompt_tokens += round(spent.prompt_tokens)
            self.usage.completion_tokens += round(spent.completion_tokens)
            self.usage.cost += spent.cost

    def identity(self) -> Identity:
        """Address and model, every setting that reaches the request, and what the server says of the model's weights.

        The server is asked once. What it says with each start (`created`) is recorded, not digested; whether it swaps
        weights behind a name without a word cannot be told: `server.revision` is the user's own word for them.

        Raises:
            PolicyError: if the server does not answer.
        """
        if self._identity is None:
            with ThreadPoolExecutor(1) as apart:  # an event loop may be running here
                card = apart.submit(asyncio.run, self._model_card()).result()
            self._identity = {
                "engine": "openai_compatible",
                "code": policy_code(__name__),
                "endpoint": self._address.server,
                "model": self.model,
                "server": self.server.asked(),
                "served": {key: card[key] for key in STAYS if key in card},
                "recorded": card,
            }
        return self._identity

    async def _model_card(self) -> dict[str, Any]:
        """What the server's list of models says of this one."""
        self._attach_to_loop()
        try:
            return await model_card(self._client, self._address, self.model, self.server)
        finally:
            await self.disconnect()

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """One chat completion.

        Raises:
            PolicyError: naming the endpoint and its reply, once retries are used up or would be no use.
            ConfigError: if the key or the environment's proxy or certificates cannot be used.
        """
        if self._account is not None:
            self.identity()  # what the server says it serves is part of a call's content
        self._attach_to_loop()
        async with self._in_flight:
            completion, stopped_early = await self._once(prompt, sampling)
            if stopped_early:
                # The model named an action while it was thinking, and the server took that for the end.
                self._learn(_without_stop(self._dialect), "a stop string ended a thought: none is sent from now on")
                completion, _ = await self._once(prompt, sampling)
            return completion

    async def _once(self, prompt: Prompt, sampling: Sampling) -> tuple[Completion, bool]:
        """One reply, and whether a stop string ended it inside its thought."""
        # Not before: calls that wait here are sent after others have added to the cost.
        if self.server.max_cost is not None and self.usage.cost >= self.server.max_cost:
            raise PolicyError(
                f"{self.name} has cost {self.usage.cost:.4g}: the limit {self.server.max_cost} is reached"
            )
        started = time.perf_counter()
        reply = await self._post(prompt, sampling)
        seconds = time.perf_counter() - started
        try:
            completion = completion_of(prompt, sampling, reply.sent, reply.body, seconds, self.server)
            early = "stop" in reply.sent.body and stopped_in_thought(reply.body, completion.text, sampling)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            start = self._masked(" ".join(reply.text.split()))[:200]
            fault = f"{self.base_url} answers something else than a chat completion: {start}"
            await self._enter(reply.entry, "in doubt", fault)
            raise PolicyError(fault) from error
        if reply.call is None or reply.entry is not None:
            await self._count(reply, completion)
        return completion, early

    async def _count(self, reply: _Reply, completion: Completion) -> None:
        """Add up what a reply has cost, and keep it before it is used."""
        self.usage.requests += 1
        self.usage.prompt_tokens += completion.prompt_tokens
        self.usage.completion_tokens += completion.completion_tokens or 0
        self.usage.cost += completion.cost
        if self._account is None or reply.call is None or reply.entry is None:
            return
        told = bool(reply.body.get("usage"))
        tokens = (completion.prompt_tokens, completion.completion_tokens or 0) if told else (None, None)
        await asyncio.to_thread(self._account.complete, reply.call, reply.entry, reply.text, tokens, completion.cost)

    async def _enter(self, entry: int | None, outcome: Outcome, reason: str) -> None:
        """Enter in the ledger that a call brought no reply."""
        if self._account is not None and entry is not None:
            await asyncio.to_thread(self._account.fail, entry, outcome, reason)

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        """Completions in order; for callers outside an event loop."""

        async def gather() -> list[Completion]:
            try:
                return await asyncio.gather(*(self.complete(p, s) for p, s in zip(prompts, samplings, strict=True)))
            finally:
                await self.disconnect()

        return asyncio.run(gather())

    async def disconnect(self) -> None:
        """Close the connections of the running event loop."""
        if self._loop is asyncio.get_running_loop():
            await self._client.aclose()
            self._loop = None

    def _attach_to_loop(self) -> None:
        """Connections, the semaphore and the rate's lock belong to one event loop: make them anew in another."""
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        self._client = self._open_client()
        self._in_flight = asyncio.Semaphore(self.server.concurrency)
        self._rate_lock = asyncio.Lock()
        self._loop = loop

    def _open_client(self) -> httpx.AsyncClient:
        """A client for the running event loop: the key read now, the environment's proxy and certificates.

        Raises:
            ConfigError: if one of them cannot be used.
        """
        key = None if self._api_key is None else self._api_key.read_line().get_secret_value()
        if self._address.secret:
            # httpx notes every address it asks, whole, for whoever listens at this level.
            logging.getLogger("httpx").setLevel(logging.WARNING)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        if self._transport is not None:
            return httpx.AsyncClient(
                headers=headers, timeout=self.server.timeout_seconds, transport=self._transport, trust_env=False
            )
        options = client_options(self._address.url.get_secret_value())
        return httpx.AsyncClient(headers=headers, timeout=self.server.timeout_seconds, **options)

    async def _post(self, prompt: Prompt, sampling: Sampling) -> _Reply:
        """The reply that is kept of an earlier call; else send, learning from refusals and retrying what may pass."""
        fault, attempt, lessons = "", 0, 0
        while attempt <= self.server.retries:
            sent = await asyncio.to_thread(self._request, prompt, sampling, self._dialect)
            call = self._call(sent, sampling)
            begun = await self._begin(call)
            if isinstance(begun, str):
                return _Reply(sent, begun, read_body(begun), call)
            response, fault = await self._send(sent, call, begun)
            asked_wait = 0.0
            if response is not None:
                status, said, body = outcome(response)
                if status == httpx.codes.OK:
                    return _Reply(sent, response.text, body, call, begun)
                await self._enter(begun, "failed", self._masked(f"HTTP {status}: {said}"))
                if status not in (408, 429) and status < httpx.codes.INTERNAL_SERVER_ERROR:
                    lessons += 1
                    if lessons <= _MOST_LESSONS and self._learn_from(said, sent):
                        continue
                    raise PolicyError(self._refusal(status, said, response))
                fault = self._masked(f"HTTP {status}: {said}")[:300]
                asked_wait = retry_after(response)
            attempt += 1
            if attempt <= self.server.retries:
                self.usage.retries += 1
                wait = self.server.backoff_seconds * 2 ** (attempt - 1) * self._jitter.uniform(0.5, 1.0)
                await asyncio.sleep(min(max(wait, asked_wait), self.server.max_backoff_seconds))
        raise UnreachableError(f"{self._address.shown} does not answer after {self.server.retries + 1} tries: {fault}")

    async def _send(self, sent: Sent, call: Call | None, entry: int | None) -> tuple[httpx.Response | None, str]:
        """One try: the response, or what broke it."""
        headers = call.headers if call else {}
        try:
            # httpx's own time-out is for each read: a server that drips bytes would never meet it.
            async with asyncio.timeout(self.server.timeout_seconds):
                url = self._address.url.get_secret_value()
                return await self._client.post(url, json=sent.body, headers=headers), ""
        except (TimeoutError, httpx.TimeoutException):
            fault = f"no reply within {self.server.timeout_seconds:g} s"
            ended: Outcome = "in doubt"
        except (httpx.TransportError, httpx.DecodingError) as error:
            fault = f"{type(error).__name__}: {self._masked(str(error))}"
            ended = "failed" if isinstance(error, httpx.ConnectError) else "in doubt"
        except asyncio.CancelledError:
            if self._account is not None and entry is not None:
                self._account.fail(entry, "in doubt", "it was given up")
            raise
        await self._enter(entry, ended, fault)
        return None, fault

    def _call(self, sent: Sent, sampling: Sampling) -> Call | None:
        """The call that a request is in the ledger, if there is one."""
        if self._account is None:
            return None
        served = self.identity()["served"]
        return self._account.call(
            self._address.server, self.model, self.server.revision, served, sent.body, sampling.key
        )

    async def _begin(self, call: Call | None) -> str | int | None:
        """A kept reply; else the call's number in the ledger, once its turn under the rate has come."""
        kept = await asyncio.to_thread(self._account.kept, call) if self._account and call else None
        if kept is not None:
            return kept
        await self._wait_for_slot()
        return await self._account.begin(call) if self._account and call else None

    def _refusal(self, status: int, said: str, response: httpx.Response) -> str:
        """A refusal in one line, with what can be done about it."""
        if 300 <= status < 400:
            target = without_secrets(response.headers.get("location", "nowhere"))[:200]
            return f"{self._address.shown} redirects (HTTP {status}) to {target}: give that server's address, up to /v1"
        told = self._masked(f"HTTP {status}: {said}")[:300].rstrip(".")
        return f"{self._address.shown} refuses the request for model {self.model!r}: {told}{remedy(status, said)}"

    def _masked(self, text: str) -> str:
        """A server's or library's words without the key and the address's secrets, which some repeat."""
        return self._address.masked(text, "" if self._api_key is None else self._api_key.read().get_secret_value())

    def _learn_from(self, refusal: str, sent: Sent) -> bool:
        """Whether sending again may help: something was learnt now, or by another request since this one was sent."""
        if sent.dialect != self._dialect:
            return True
        dialect, told = sent.dialect.learnt(refusal, sent.body, self.server.extra_body)
        if told:
            self._learn(dialect, told)
        return bool(told)

    def _learn(self, dialect: Dialect, told: str) -> None:
        """Keep to a dialect from now on, and say so the first time."""
        if dialect != self._dialect:
            self._dialect = dialect
            _log.warning("note: %s at %s: %s", self.name, self.base_url, told)

    async def _wait_for_slot(self) -> None:
        """Space requests evenly under the configured rate."""
        if self.server.requests_per_minute is None:
            return
        async with self._rate_lock:
            now = time.monotonic()
            slot = max(now, self._next_slot)
            self._next_slot = slot + 60.0 / self.server.requests_per_minute
        await asyncio.sleep(slot - now)

    def _request(self, prompt: Prompt, sampling: Sampling, dialect: Dialect) -> Sent:
        """A request in the server's dialect; `server.extra_body` wins over it."""
        payload = self._payload(prompt, sampling, dialect)
        return Sent(dialect.dressed(payload) | self.server.extra_body, dialect, dialect.changes(payload))

    def _payload(self, prompt: Prompt, sampling: Sampling, dialect: Dialect) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [
            {"role": message.role, "content": [self._part(part) for part in message.content]}
            for message in prompt.messages
        ]
        payload: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
        }
        if sampling.stop:
            # Servers take a stop string out of the reply, but for those that know the second field.
            payload |= {"stop": list(sampling.stop), "include_stop_str_in_output": True}
        if self.server.seed:
            payload["seed"] = derive_seed(sampling.key) % 2**31
        if self.server.token_ids:
            payload |= {"logprobs": True, "return_token_ids": True}
        if prompt.forced_prefix and self.server.prefill == "continue" and not dialect.instruct:
            messages.append({"role": "assistant", "content": prompt.forced_prefix})
            payload |= {"continue_final_message": True, "add_generation_prompt": False}
        elif prompt.forced_prefix:
            demand = f"Begin your reply with exactly this, then continue it: {prompt.forced_prefix}"
            part = {"type": "text", "text": demand}
            # Chat templates that insist on alternating roles refuse two user messages in a row.
            if messages and messages[-1]["role"] == "user":
                messages[-1]["content"].append(part)
            else:
                messages.append({"role": "user", "content": [part]})
        for message in messages:
            _separate(message["content"])
        return payload

    def _part(self, part: str | ImageRef) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": _CONTROL.sub(lambda match: f"{match[0][0]} {match[0][1:]}", part)}
        return {"type": "image_url", "image_url": {"url": self._data_url(part)}}

    def _data_url(self, ref: ImageRef) -> str:
        """The picture as a PNG data URL; recent ones are kept, and the loader is never called twice at once."""
        with self._picture_lock:
            kept = self._pictures.get(ref)
            if kept is not None:
                return kept
            buffer = io.BytesIO()
            self._images(ref).convert("RGB").save(buffer, format="PNG", compress_level=1)
            url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
            self._pictures.keep(ref, url, len(url))
            return url


def _separate(content: Any) -> None:
    """End every text part but the last with a line break: chat templates put parts together as they are."""
    if isinstance(content, list):
        for part in content[:-1]:
            if part["type"] == "text" and not part["text"].endswith("\n"):
                part["text"] += "\n"


def _without_stop(dialect: Dialect) -> Dialect:
    return replace(dialect, left_out=dialect.left_out | {"stop", "include_stop_str_in_output"})
