"""The rollout driver on real vLLM: episodes as coroutines against the engine's own rate and a lock-step driver.

Goals (issue 5): at least 85 % of the requests a second that the same engine reaches on the same prompts given to it at
once; at least 1.5 × the lock-step driver on the same engine. The three are measured in turn, several times, with the
engine's caches emptied and the index's searches forgotten before each; the medians count. The episodes are those of the
warm start at temperature 1, as GRPO samples them, where this VISOR_HOME has one; the clumsy scripted teacher's if not.

What a lock-step driver wastes are steps of the engine with few sequences in them. On a GPU a step costs about the same
however many it holds; vLLM's CPU build on this model is like that only for a few (about 8 ms a step and 0.3 ms a
sequence), so the goals are judged on an engine of `JUDGED` sequences, and larger ones are reported beside it.
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

from tests.benchmarks.nano_replay import Recording, Replay, nano_checkpoint, record, trained_checkpoints
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference, run_throughput
from visor_core.policies.vllm import VLLMPolicy

EPISODES = 512
JUDGED = 8
REPEATS = {JUDGED: 3, 32: 1}
"""Sequences an engine runs at once, and how often each driver is measured on it."""
IN_FLIGHT = 1.5
"""Episodes in flight for each of them, in both drivers, so that some may be searching meanwhile."""


def main(home: Path) -> dict[str, Any]:
    """Measure, print, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        warm_start = next(iter(trained_checkpoints(home, "sft_checkpoint")), None)
        recording = record(folder / "world", EPISODES, warm_start)
        checkpoint, kind = nano_checkpoint(home, folder / "checkpoint")
        measured = {size: _measure(checkpoint, recording, size) for size in REPEATS}
    return _report(recording, measured, kind, "warm start, T=1" if warm_start else "scripted teacher")


def _measure(checkpoint: Path, recording: Recording, size: int) -> dict[str, Any]:
    """Seconds of every repeat and the last prefix-cache hit rate, by driver; contexts that were not as recorded."""
    engine = VLLMPolicy(checkpoint, recording.environment.index, max_num_seqs=size)
    engine.ends = ()  # replies end where the recording says, never earlier
    replay, keys, in_flight = Replay(engine, recording), list(recording.exchanges), int(IN_FLIGHT * size)

    def at_once(environment: Environment) -> None:
        engine.complete_batch([recording.exchanges[k].prompt for k in keys], [replay.sampling(k) for k in keys])

    def coroutines(environment: Environment) -> None:
        asyncio.run(run_throughput(environment, replay, recording.questions, concurrency=in_flight))

    def lock_step(environment: Environment) -> None:
        run_reference(environment, replay, recording.questions, batch_size=in_flight)

    drivers: dict[str, Callable[[Environment], None]] = {
        "at once": at_once,
        "coroutines": coroutines,
        "lock-step": lock_step,
    }
    seconds: dict[str, list[float]] = {name: [] for name in drivers}
    hits: dict[str, float] = {}
    try:
        at_once(recording.environment)
        for _ in range(REPEATS[size]):
            for name, drive in drivers.items():
                engine.reset_caches()
                environment = recording.unused_environment()
                before = engine.statistics
                began = time.perf_counter()
                drive(environment)
                seconds[name].append(time.perf_counter() - began)
                hits[name] = engine.statistics.since(before).hit_rate
    finally:
        engine.close()
    return {
        "seconds": seconds,
        "requests_per_second": {name: len(keys) / statistics.median(times) for name, times in seconds.items()},
        "prefix_cache_hit_rate": hits,
        "contexts_not_as_recorded": replay.differing,
    }


def _report(recording: Recording, measured: dict[int, dict[str, Any]], kind: str, played_by: str) -> dict[str, Any]:
    requests = len(recording.exchanges)
    turns = Counter(Counter(key[2] for key in recording.exchanges).values())
    table = Table(title=f"{EPISODES} episodes of {played_by}, {requests} requests, checkpoint {kind}")
    for column in ("engine", "driver", "requests/s", "of the engine", "prefix cache hits"):
        table.add_column(column)
    for size, figures in measured.items():
        rates = figures["requests_per_second"]
        for name, rate in rates.items():
            hits = figures["prefix_cache_hit_rate"][name]
            table.add_row(str(size), name, f"{rate:.0f}", f"{rate / rates['at once']:.2f}", f"{hits:.1%}")
    Console().print(table)
    rates, hits = (measured[JUDGED][name] for name in ("requests_per_second", "prefix_cache_hit_rate"))
    of_engine, of_lock_step = rates["coroutines"] / rates["at once"], rates["coroutines"] / rates["lock-step"]
    return {
        "results": [
            _figure("rollout_of_engine", of_engine, "share", ">= 0.85", of_engine >= 0.85),
            _figure("rollout_over_lock_step", of_lock_step, "×", ">= 1.5", of_lock_step >= 1.5),
            _figure("rollout_prefix_cache_hit_rate", hits["coroutines"], "share", "reported", True),
        ],
        "raw": {
            "engines": {str(size): figures for size, figures in measured.items()},
            "judged_on": JUDGED,
            "episodes_by_turns": dict(sorted(turns.items())),
            "tokens": sum(exchange.tokens for exchange in recording.exchanges.values()),
            "checkpoint": kind,
            "played_by": played_by,
        },
    }


def _figure(name: str, value: float, unit: str, goal: str, met: bool) -> dict[str, Any]:
    return {"name": name, "value": round(value, 4), "unit": unit, "goal": goal, "met": met}
