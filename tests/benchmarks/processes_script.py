"""One process of `bench_processes`: some steps of the base model's two stages, then some GRPO steps of 128 episodes.

The order is a JSON file: `folder` of a built nano setting, `warm_start` or null, `output`, `threads`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.nano_rows import build
from visor_core.config import GRPOConfig, NanoConfig, OptimizerConfig
from visor_core.nano.pretraining import train_base_model
from visor_core.training.grpo import train_grpo
from visor_core.training.rewards import RewardContext

BASE_STEPS, GRPO_STEPS = 14, 4
"""Steps of vision and of alignment each, and of GRPO."""
WARM_UP = {"vision": 4, "alignment": 4, "grpo": 1}
"""First steps of a stage that are left out of its mean: pictures are drawn and encoded once."""


def main() -> None:
    """Train, and let the first process write the mean seconds of a step by stage."""
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(order["threads"])
    warm_start = order["warm_start"] and Path(order["warm_start"])
    setting = build(Path(order["folder"]), warm_start=warm_start)
    leads, output = os.environ.get("RANK", "0") == "0", Path(order["output"])
    seconds = _base(setting.world, output / "base") | {"grpo": _grpo(setting, output / "grpo")}
    if leads:
        (output / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")


def _base(world: Any, output: Path) -> dict[str, float]:
    ends: dict[str, list[float]] = {"vision": [], "alignment": []}
    config = NanoConfig(vision_steps=BASE_STEPS, alignment_steps=BASE_STEPS)
    train_base_model(world, world, output, config, 0, lambda step: ends[str(step["phase"])].append(time.perf_counter()))
    return {phase: _mean(times, WARM_UP[phase]) for phase, times in ends.items()}


def _mean(ends: list[float], skipped: int) -> float:
    return (ends[-1] - ends[skipped - 1]) / (len(ends) - skipped)


def _grpo(setting: Any, output: Path) -> float:
    config = GRPOConfig(
        steps=GRPO_STEPS,
        questions_per_step=16,
        group_size=8,
        dynamic_sampling="keep",
        freeze_vision=True,
        micro_batch_tokens=4096,
        save_steps=1000,
        max_completion_tokens=24,
        optimizer=OptimizerConfig(learning_rate=1e-5, bf16=True),
    )
    steps: list[dict[str, float]] = []
    train_grpo(
        setting.checkpoint, setting.questions, setting.environment, setting.index, config, output, 0,
        context=RewardContext(judge=lambda asked, given: float(len(given) % 7) / 6), on_step=steps.append,
    )  # fmt: skip
    kept = steps[WARM_UP["grpo"] :]
    return sum(step["seconds/step"] for step in kept) / max(1, len(kept))


if __name__ == "__main__":
    main()
