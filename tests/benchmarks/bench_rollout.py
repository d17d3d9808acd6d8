"""The rollout driver on real vLLM: episodes as coroutines against the engine's own rate and a lock-step driver.

Goals (issue 5): at least 85 % of the requests a second that the same engine reaches on the same prompts given to it at
once; at least 1.5 × the lock-step driver on the same engine. The three are measured in turn, several times, with the
engine's caches emptied and the index's searches forgotten before each; the medians count.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.nano_replay import Recording, Replay, nano_checkpoint, record
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference, run_throughput
from visor_core.policies.vllm import VLLMPolicy

EPISODES = 320
# Episodes in flight, in both drivers; more than the engine runs at once, so that some may be searching meanwhile.
CONCURRENCY = 192
ENGINE_REQUESTS = 128
REPEATS = 3


def main(home: Path) -> dict[str, Any]:
    """Measure, print, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recording = record(folder / "world", EPISODES)
        checkpoint, kind = nano_checkpoint(home, folder / "checkpoint")
        engine = VLLMPolicy(checkpoint, recording.environment.index, max_num_seqs=ENGINE_REQUESTS)
        # Replies end where the recording says, never earlier.
        engine.ends = ()
        try:
            seconds, hits, differing = _measure(engine, recording)
        finally:
            engine.close()
    return _report(recording, seconds, hits, differing, kind)


def _measure(engine: VLLMPolicy, recording: Recording) -> tuple[dict[str, list[float]], dict[str, float], int]:
    """Seconds of every repeat and the last prefix-cache hit rate, by driver; contexts that were not as recorded."""
    replay = Replay(engine, recording)
    keys = list(recording.prompts)

    def at_once() -> None:
        engine.complete_batch([recording.prompts[k] for k in keys], [replay.sampling(k) for k in keys])

    def coroutines(environment: Environment) -> None:
        asyncio.run(run_throughput(environment, replay, recording.questions, concurrency=CONCURRENCY))

    def lock_step(environment: Environment) -> None:
        run_reference(environment, replay, recording.questions, batch_size=CONCURRENCY)

    drivers: dict[str, Callable[[Environment], None]] = {
        "at once": lambda environment: at_once(),
        "coroutines": coroutines,
        "lock-step": lock_step,
    }
    at_once()
    seconds: dict[str, list[float]] = {name: [] for name in drivers}
    hits: dict[str, float] = {}
    for _ in range(REPEATS):
        for name, drive in drivers.items():
            engine.reset_caches()
            environment = recording.unused_environment()
            before = engine.statistics
            began = time.perf_counter()
            drive(environment)
            seconds[name].append(time.perf_counter() - began)
            hits[name] = engine.statistics.since(before).hit_rate
    return seconds, hits, replay.differing


def _report(
    recording: Recording, seconds: dict[str, list[float]], hits: dict[str, float], differing: int, kind: str
) -> dict[str, Any]:
    requests = len(recording.prompts)
    rates = {name: requests / statistics.median(times) for name, times in seconds.items()}
    of_engine, of_lock_step = rates["coroutines"] / rates["at once"], rates["coroutines"] / rates["lock-step"]
    turns = Counter(Counter(key[2] for key in recording.prompts).values())
    table = Table(title=f"{EPISODES} episodes, {requests} requests, {CONCURRENCY} at a time, checkpoint {kind}")
    for column in ("driver", "requests/s", "of the engine", "prefix cache hits"):
        table.add_column(column)
    for name, rate in rates.items():
        table.add_row(name, f"{rate:.0f}", f"{rate / rates['at once']:.2f}", f"{hits[name]:.1%}")
    Console().print(table)
    raw = {
        "seconds": seconds,
        "requests_per_second": rates,
        "prefix_cache_hit_rate": hits,
        "episodes_by_turns": dict(sorted(turns.items())),
        "tokens": sum(recording.lengths.values()),
        "contexts_not_as_recorded": differing,
        "checkpoint": kind,
    }
    return {
        "results": [
            _figure("rollout_of_engine", of_engine, "share", ">= 0.85", of_engine >= 0.85),
            _figure("rollout_over_lock_step", of_lock_step, "×", ">= 1.5", of_lock_step >= 1.5),
            _figure("rollout_prefix_cache_hit_rate", hits["coroutines"], "share", "reported", True),
        ],
        "raw": raw,
    }


def _figure(name: str, value: float, unit: str, goal: str, met: bool) -> dict[str, Any]:
    return {"name": name, "value": round(value, 4), "unit": unit, "goal": goal, "met": met}
