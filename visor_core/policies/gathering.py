"""Turns a batch function into an async one: calls that wait at the same time share a batch.

While one batch runs in a thread the next collects, so nothing waits for a timer under load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from visor_core.errors import VisorError
from visor_core.policies.base import Completion, Prompt, Sampling

BatchFunction = Callable[[Sequence[Prompt], Sequence[Sampling]], list[Completion]]


@dataclass(eq=False)
class _Batch:
    """One collecting batch and the task that will run it."""

    prompts: list[Prompt] = field(default_factory=list)
    samplings: list[Sampling] = field(default_factory=list)
    task: asyncio.Task[list[Completion | VisorError]] | None = None


class Gatherer:
    """Collects concurrent calls into batches of at most `max_batch`; one batch runs at a time."""

    def __init__(self, run: BatchFunction, max_batch: int, *, linger_seconds: float = 0.002) -> None:
        self._run = run
        self._max_batch = max_batch
        self._linger = linger_seconds
        self._open: _Batch | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = asyncio.Lock()

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """One completion out of a shared batch.

        A prompt that cannot be completed (a picture that cannot be drawn, too long a text) fails its own call alone.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._open, self._running = loop, None, asyncio.Lock()
        if self._open is None:
            self._open = _Batch()
            self._open.task = loop.create_task(self._run_batch(self._open))
        batch, position = self._open, len(self._open.prompts)
        batch.prompts.append(prompt)
        batch.samplings.append(sampling)
        if len(batch.prompts) >= self._max_batch:
            self._open = None
        assert batch.task is not None
        reply = (await asyncio.shield(batch.task))[position]
        if isinstance(reply, VisorError):
            raise reply
        return reply

    async def _run_batch(self, batch: _Batch) -> list[Completion | VisorError]:
        async with self._running:
            await asyncio.sleep(self._linger)
            if self._open is batch:
                self._open = None
            return await asyncio.to_thread(self._complete, batch.prompts, batch.samplings)

    def _complete(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion | VisorError]:
        """The batch at once; where that fails, each half by itself, down to the prompt at fault."""
        try:
            return list(self._run(prompts, samplings))
        except VisorError as error:
            if len(prompts) == 1:
                return [error]
        half = len(prompts) // 2
        return self._complete(prompts[:half], samplings[:half]) + self._complete(prompts[half:], samplings[half:])
