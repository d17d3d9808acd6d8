"""The two engines on one checkpoint: greedy tokens of transformers and vLLM, and their log-probabilities.

Goals (issue 5): identical tokens on at least 99 % of turns; mean absolute log-probability difference at most 0.01 in
float32, over the tokens both engines chose after the same context.
"""

from __future__ import annotations

import statistics
import tempfile
from itertools import takewhile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.nano_replay import AGENT, nano_checkpoint, record
from visor_core.policies.base import Completion, Sampling
from visor_core.policies.transformers import TransformersPolicy
from visor_core.policies.vllm import VLLMPolicy

EPISODES = 96


def main(home: Path) -> dict[str, Any]:
    """Measure, print, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recording = record(folder / "world", EPISODES)
        checkpoint, kind = nano_checkpoint(home, folder / "checkpoint")
        images, prompts = recording.environment.index, [exchange.prompt for exchange in recording.exchanges.values()]
        greedy = [Sampling(0.0, AGENT.max_new_tokens)] * len(prompts)
        reference = TransformersPolicy(checkpoint, images).complete_batch(prompts, greedy)
        engine = VLLMPolicy(checkpoint, images)
        try:
            fast = engine.complete_batch(prompts, greedy)
        finally:
            engine.close()
    identical = statistics.fmean(a.token_ids == b.token_ids for a, b in zip(reference, fast, strict=True))
    same_prompt = statistics.fmean(a.prompt_ids == b.prompt_ids for a, b in zip(reference, fast, strict=True))
    differences = [d for a, b in zip(reference, fast, strict=True) for d in _differences(a, b)]
    mean = statistics.fmean(differences)
    table = Table("turns", "identical prompts", "identical tokens", "mean |Δ log p|", "largest", "checkpoint")
    figures = (f"{same_prompt:.2%}", f"{identical:.2%}", f"{mean:.2e}", f"{max(differences):.2e}")
    table.add_row(str(len(prompts)), *figures, kind)
    Console().print(table)
    return {
        "results": [
            {
                "name": "engines_identical_turns",
                "value": round(identical, 4),
                "unit": "share",
                "goal": ">= 0.99",
                "met": identical >= 0.99,
            },
            {
                "name": "engines_logprob_difference",
                "value": mean,
                "unit": "nats",
                "goal": "<= 0.01",
                "met": mean <= 0.01,
            },
        ],
        "raw": {
            "turns": len(prompts),
            "tokens_compared": len(differences),
            "identical_prompts": same_prompt,
            "largest_difference": max(differences),
            "checkpoint": kind,
        },
    }


def _differences(a: Completion, b: Completion) -> list[float]:
    """|Δ log p| of the tokens chosen alike, up to the first that differs."""
    pairs = zip(a.token_ids, b.token_ids, a.logprobs, b.logprobs, strict=False)
    return [abs(p - q) for _, _, p, q in takewhile(lambda pair: pair[0] == pair[1], pairs)]
