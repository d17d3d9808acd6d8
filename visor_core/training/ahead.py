"""One step's rollouts under way in a thread while the trainer updates: what `steps_ahead` overlaps.

A thread is enough: vLLM steps in its own, and PyTorch's kernels release the interpreter lock. Gradient mode and
autocast are a thread's own, so an update next to it is undisturbed. What a source may touch: see `RolloutSource`.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from visor_core.training.rollouts import Collected, Collector


@dataclass(frozen=True, slots=True)
class Timed:
    """Rollouts and when they began and ended, on the clock of `time.perf_counter`."""

    collected: Collected
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Ahead:
    """Rollouts of `step`, drawn with the weights of optimizer step `version`."""

    step: int
    version: int
    rollouts: Future[Timed]

    @classmethod
    def begin(cls, collector: Collector, step: int, *, version: int) -> Ahead:
        """Start rolling out; an exception in the thread is raised again where the result is asked for."""
        # The number of threads decides how sums are cut, and a new thread would start with PyTorch's default.
        threads = torch.get_num_threads()

        def run() -> Timed:
            torch.set_num_threads(threads)
            began = time.perf_counter()
            return Timed(collector.collect(step), began, time.perf_counter())

        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"rollouts-{step}")
        future = executor.submit(run)
        executor.shutdown(wait=False)
        return cls(step, version, future)
