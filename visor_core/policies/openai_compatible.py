"""A policy behind any server that speaks OpenAI's chat completions (vLLM, SGLang, llama.cpp, hosted models).

Pictures travel as data URLs, so the server needs no access to documents. Calls are retried with backoff on 429, 5xx,
time-outs and broken connections, kept under a rate and a number in flight, and their cost is added up. Left out:
streaming, tools and provider-specific APIs.
"""

from __future__ import annotations

import asyncio
import base64
import io
import random
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from visor_core.config import SecretReference, ServerConfig
from visor_core.errors import PolicyError
from visor_core.policies.base import Closing, Completion, ImageLoader, ImageRef, Prompt, Sampling
from visor_core.policies.identity import Identity, policy_code, public_address
from visor_core.policies.sampling import derive_seed
from visor_core.policies.served import FINGERPRINT, STAYS, model_card

# Control tokens of the widespread chat formats: in message text they could open a turn or forge a picture.
_CONTROL = re.compile(r"<\||<(?=/?(?:image|video|fake_token_around_image|end_of_utterance|start_of_turn|end_of_turn)>)")


@dataclass
class Usage:
    """Running totals of one policy; `cost` in the currency of the server's prices."""

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


class OpenAICompatiblePolicy(Closing):
    """`model` at `base_url` (up to and including `/v1`), asked as `server` says.

    Raises:
        PolicyError: if the address is not http(s).
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
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise PolicyError(f"the endpoint {base_url!r} is no address: give it as http(s)://host:port/v1")
        self.name = name or model
        self.checkpoint = model
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.server = server or ServerConfig()
        self.usage = Usage()
        self._images = images
        self._api_key = api_key
        self._transport = transport
        self._pictures: OrderedDict[ImageRef, str] = OrderedDict()
        self._picture_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._identity: Identity | None = None
        self._next_slot = 0.0
        # The delays need no reproducibility; a private generator leaves the global one alone.
        self._jitter = random.Random()

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
                "endpoint": public_address(self.base_url),
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
            return await model_card(self._client, self.base_url, self.model, self.server)
        finally:
            await self.disconnect()

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """One chat completion.

        Raises:
            PolicyError: naming the endpoint and its reply, once retries are used up or would be no use.
        """
        self._attach_to_loop()
        payload = await asyncio.to_thread(self._payload, prompt, sampling)
        async with self._in_flight:
            # Not before: calls that wait here are sent after others have added to the cost.
            if self.server.max_cost is not None and self.usage.cost >= self.server.max_cost:
                raise PolicyError(
                    f"{self.name} has cost {self.usage.cost:.4g}: the limit {self.server.max_cost} is reached"
                )
            started = time.perf_counter()
            response = await self._post(payload)
            seconds = time.perf_counter() - started
            try:
                return self._completion(prompt, response.json(), seconds)
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                start = " ".join(response.text.split())[:200]
                raise PolicyError(f"{self.base_url} answers something else than a chat completion: {start}") from error

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
        self._loop = loop
        headers = (
            {} if self._api_key is None else {"Authorization": f"Bearer {self._api_key.read().get_secret_value()}"}
        )
        self._client = httpx.AsyncClient(
            headers=headers, timeout=self.server.timeout_seconds, transport=self._transport, trust_env=False
        )
        self._in_flight = asyncio.Semaphore(self.server.concurrency)
        self._rate_lock = asyncio.Lock()

    async def _post(self, payload: dict[str, Any]) -> httpx.Response:
        """Send, retrying what may pass; the reply has status 200."""
        url = f"{self.base_url}/chat/completions"
        fault = ""
        for attempt in range(self.server.retries + 1):
            await self._wait_for_slot()
            asked_wait = 0.0
            try:
                # httpx's own time-out is for each read: a server that drips bytes would never meet it.
                async with asyncio.timeout(self.server.timeout_seconds):
                    response = await self._client.post(url, json=payload)
            except (TimeoutError, httpx.TimeoutException):
                fault = f"no reply within {self.server.timeout_seconds:g} s"
            except (httpx.TransportError, httpx.DecodingError) as error:
                fault = f"{type(error).__name__}: {error}"
            else:
                if response.status_code == httpx.codes.OK:
                    return response
                fault = f"HTTP {response.status_code}: {' '.join(response.text.split())[:300]}"
                if response.status_code not in (408, 429) and response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise PolicyError(f"{url} refuses the request for model {self.model!r}: {fault}")
                asked_wait = _retry_after(response)
            if attempt < self.server.retries:
                self.usage.retries += 1
                wait = self.server.backoff_seconds * 2**attempt * self._jitter.uniform(0.5, 1.0)
                await asyncio.sleep(min(max(wait, asked_wait), self.server.max_backoff_seconds))
        raise PolicyError(f"{url} does not answer after {self.server.retries + 1} tries: {fault}")

    async def _wait_for_slot(self) -> None:
        """Space requests evenly under the configured rate."""
        if self.server.requests_per_minute is None:
            return
        async with self._rate_lock:
            now = time.monotonic()
            slot = max(now, self._next_slot)
            self._next_slot = slot + 60.0 / self.server.requests_per_minute
        await asyncio.sleep(slot - now)

    def _payload(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
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
            payload["stop"] = list(sampling.stop)
        if self.server.seed:
            payload["seed"] = derive_seed(sampling.key) % 2**31
        if self.server.token_ids:
            payload |= {"logprobs": True, "return_token_ids": True}
        if prompt.forced_prefix and self.server.prefill == "continue":
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
        return payload | self.server.extra_body

    def _part(self, part: str | ImageRef) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": _CONTROL.sub(lambda match: f"{match[0][0]} {match[0][1:]}", part)}
        return {"type": "image_url", "image_url": {"url": self._data_url(part)}}

    def _data_url(self, ref: ImageRef) -> str:
        """The picture as a PNG data URL; recent ones are kept, and the loader is never called twice at once."""
        with self._picture_lock:
            if ref not in self._pictures:
                buffer = io.BytesIO()
                self._images(ref).convert("RGB").save(buffer, format="PNG", compress_level=1)
                self._pictures[ref] = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
            self._pictures.move_to_end(ref)
            while len(self._pictures) > 64:
                self._pictures.popitem(last=False)
            return self._pictures[ref]

    def _completion(self, prompt: Prompt, reply: Any, seconds: float) -> Completion:
        """The reply as a completion; one of another shape raises what Python makes of it."""
        usage = reply.get("usage") or {}
        prompt_tokens = int(usage.get("prompt_tokens") or 0)
        completion_tokens = int(usage.get("completion_tokens") or 0)
        cost = (prompt_tokens * self.server.prompt_price + completion_tokens * self.server.completion_price) / 1e6
        self.usage.requests += 1
        self.usage.prompt_tokens += prompt_tokens
        self.usage.completion_tokens += completion_tokens
        self.usage.cost += cost
        choice = reply["choices"][0]
        message = choice["message"]
        text = _text(message.get("content"))
        if prompt.forced_prefix and not (
            self.server.prefill == "instruct" and text.lstrip().startswith(prompt.forced_prefix)
        ):
            text = prompt.forced_prefix + text
        token_ids = tuple(int(t) for t in choice.get("token_ids") or ())
        logprobs = tuple(float(t["logprob"]) for t in (choice.get("logprobs") or {}).get("content") or ())
        complete = len(token_ids) == len(logprobs) > 0
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        return Completion(
            text=text,
            token_ids=token_ids if complete else (),
            logprobs=logprobs if complete else (),
            prompt_ids=tuple(int(t) for t in reply.get("prompt_token_ids") or ()) if complete else (),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens or None,
            image_tokens=None if prompt.images else 0,
            cached_tokens=int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
            finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
            seconds=seconds,
            cost=cost,
            metadata={
                **({"reasoning": str(reasoning)} if reasoning else {}),
                **({FINGERPRINT: str(mark)} if (mark := reply.get(FINGERPRINT)) else {}),
            },
        )


def _text(content: Any) -> str:
    """A message's content: none, a string, or a list of parts, of which those of text count."""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part["type"] == "text")
    if not isinstance(content, str | None):
        raise TypeError(f"content is {type(content).__name__}")
    return content or ""


def _retry_after(response: httpx.Response) -> float:
    """Seconds the server asks to wait; 0 if it does not say, or says it as a date."""
    value = response.headers.get("retry-after", "")
    return float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else 0.0
