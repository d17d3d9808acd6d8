"""Where a GRPO step's time goes: rollout, reference log-probabilities and update, by engine and optimisation.

One nano world, the untrained nano model (its episodes run into malformed replies and the turn limit, the costly case),
8 questions × 8 rollouts a step. Measured from the trainer's own clocks, the first step left out. vLLM is measured where
it is installed.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.nano_rows import NanoSetting, build
from visor_core.config import GRPOConfig, OptimizerConfig
from visor_core.policies import attention
from visor_core.training.grpo import train_grpo
from visor_core.training.rewards import RewardContext

STEPS = 3


def shares(setting: NanoSetting, engine: str, **changes: Any) -> dict[str, float]:
    """Mean seconds of each part of a step, and the step's trained tokens a second."""
    values: dict[str, Any] = {
        "steps": STEPS,
        "questions_per_step": 8,
        "group_size": 8,
        "beta": 0.01,
        "dynamic_sampling": "off",
        "micro_batch_tokens": 2048,
        "save_steps": 1000,
        "max_completion_tokens": 24,
        "optimizer": OptimizerConfig(learning_rate=1e-5),
    }
    steps: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as output:
        train_grpo(
            setting.checkpoint,
            setting.questions,
            setting.environment,
            setting.index,
            GRPOConfig(**{**values, **changes}),
            Path(output),
            0,
            engine="vllm" if engine == "vllm" else "transformers",
            context=RewardContext(judge=lambda asked, given: float(len(given) % 7) / 6),
            on_step=steps.append,
        )
    kept = steps[1:]
    found = {part: sum(s[f"seconds/{part}"] for s in kept) / len(kept) for part in ("rollout", "reference", "update")}
    found["step"] = sum(s["seconds/step"] for s in kept) / len(kept)
    found["rows"] = sum(s["rows"] for s in kept) / len(kept)
    return found


@contextmanager
def fused_attention() -> Iterator[None]:
    """Without the plain attention of short rows (policies/attention.py)."""
    kept, attention.SHORT = attention.SHORT, 0
    try:
        yield
    finally:
        attention.SHORT = kept


def main(home: Path) -> dict[str, Any]:
    """Measure and print; the shares carry no goal."""
    folder = home / "bench" / "nano-setting"
    folder.mkdir(parents=True, exist_ok=True)
    setting = build(folder)
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "transformers": ("transformers", {}),
        "small micro-batches": ("transformers", {"micro_batch_tokens": 256}),
        "frozen, cached": ("transformers", {"freeze_vision": True}),
        "bf16": ("transformers", {"optimizer": OptimizerConfig(learning_rate=1e-5, bf16=True)}),
        "bf16, fused attention": ("transformers", {"optimizer": OptimizerConfig(learning_rate=1e-5, bf16=True)}),
        "bf16, one step ahead": (
            "transformers",
            {"optimizer": OptimizerConfig(learning_rate=1e-5, bf16=True), "steps_ahead": 1},
        ),
    }
    if importlib.util.find_spec("vllm") is not None:
        cases["vllm"] = ("vllm", {})
        cases["vllm, one step ahead"] = ("vllm", {"steps_ahead": 1})
    measured = {}
    for name, (engine, changes) in cases.items():
        with fused_attention() if "fused" in name else nullcontext():
            measured[name] = shares(setting, engine, **changes)
    table = Table(title="seconds of a GRPO step (64 episodes)", title_justify="left")
    for column in ("case", "rollout", "reference", "update", "step", "rows"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for name, found in measured.items():
        table.add_row(name, *(f"{found[key]:.2f}" for key in ("rollout", "reference", "update", "step", "rows")))
    Console().print(table)
    first = measured["transformers"]
    return {
        "value": first["update"] / first["step"],
        "unit": "share of the step spent updating",
        "goal": None,
        "met": None,
        "cases": measured,
    }
