"""Where a GRPO step's time goes: rollout, reference log-probabilities and update, by engine, and without each of the
optimisations kept.

One nano world, 8 questions × 8 rollouts a step with the settings of `nano`, and a KL term so that the reference costs
something. Episodes are those of the warm start where this VISOR_HOME has one; else of the untrained model, which runs
into malformed replies and the turn limit, the costly case. Measured from the trainer's own clocks, the first step left
out; all cases start from the same weights and ask the same questions. vLLM is measured where it is installed.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tests.benchmarks.bench_step import rows_apart
from tests.benchmarks.nano_replay import trained_checkpoints
from tests.benchmarks.nano_rows import NanoSetting, build
from visor_core.config import GRPOConfig, OptimizerConfig
from visor_core.policies import attention, decoding, transformers
from visor_core.policies.encoding import TokenBatch
from visor_core.policies.vision import as_encoder_outputs
from visor_core.training.grpo import train_grpo
from visor_core.training.rewards import RewardContext

STEPS = 3
PARTS = ("rollout", "reference", "update", "step")


def shares(setting: NanoSetting, engine: str, **changes: Any) -> dict[str, float]:
    """Mean seconds of each part of a step, and the rows it trained on."""
    values: dict[str, Any] = {
        "steps": STEPS,
        "questions_per_step": 8,
        "group_size": 8,
        "beta": 0.01,
        "dynamic_sampling": "keep",
        "freeze_vision": True,
        "micro_batch_tokens": 4096,
        "save_steps": 1000,
        "max_completion_tokens": 24,
        "optimizer": OptimizerConfig(learning_rate=1e-5, bf16=True),
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
    found = {part: sum(s[f"seconds/{part}"] for s in kept) / len(kept) for part in PARTS}
    found["rows"] = sum(s["rows"] for s in kept) / len(kept)
    return found


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another value for an attribute meanwhile."""
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


def read_apart() -> AbstractContextManager[None]:
    """Every prompt is read for itself, equal ones too."""
    decode = decoding.decode

    def apart(
        model: Any, prompts: TokenBatch, copies: Sequence[int], sampler: Any, arguments: Mapping[str, Any]
    ) -> None:
        chosen, given = torch.tensor(list(copies)), dict(arguments)
        if "mm_encoder_outputs" in given:
            # Features lie flat, one an image token in reading order; each copy of a prompt gets its own.
            counts = (prompts.input_ids == model.config.image_token_id).sum(1).tolist()
            features: Tensor = given["mm_encoder_outputs"]["image"].pooler_output[0]
            pieces = features.split(counts)
            given["mm_encoder_outputs"] = as_encoder_outputs(model, [pieces[i] for i in copies])
        whole = TokenBatch(prompts.input_ids[chosen], prompts.attention_mask[chosen])
        decode(model, whole, range(len(copies)), sampler, given)

    return replaced(transformers, "decode", apart)


Case = tuple[str, AbstractContextManager[None], dict[str, Any]]


def cases() -> dict[str, Case]:
    """Engine, what is switched off meanwhile, and changed settings, by name."""
    found: dict[str, Case] = {
        "transformers": ("transformers", nullcontext(), {}),
        "equal prompts read apart": ("transformers", read_apart(), {}),
        # No share of running rows is below it, so ended ones stay.
        "ended replies kept in the batch": ("transformers", replaced(decoding, "KEPT_SHARE", 0.0), {}),
        "fused attention": ("transformers", replaced(attention, "SHORT", 0), {}),
        "equal rows scored apart": ("transformers", rows_apart(), {}),
        "micro-batches of 256 tokens": ("transformers", nullcontext(), {"micro_batch_tokens": 256}),
        "vision trained, not cached": ("transformers", nullcontext(), {"freeze_vision": False}),
        "float32": ("transformers", nullcontext(), {"optimizer": OptimizerConfig(learning_rate=1e-5)}),
        "one step ahead": ("transformers", nullcontext(), {"steps_ahead": 1}),
    }
    if importlib.util.find_spec("vllm") is not None:
        found["vllm"] = ("vllm", nullcontext(), {})
        found["vllm, one step ahead"] = ("vllm", nullcontext(), {"steps_ahead": 1})
    return found


def main(home: Path) -> dict[str, Any]:
    """Measure and print; the shares carry no goal."""
    folder = home / "bench" / "nano-setting"
    folder.mkdir(parents=True, exist_ok=True)
    setting = build(folder, warm_start=next(iter(trained_checkpoints(home, "sft_checkpoint")), None))
    measured = {}
    for name, (engine, without, changes) in cases().items():
        with without:
            measured[name] = shares(setting, engine, **changes)
    policy = "warm start" if setting.warm_start else "untrained model"
    table = Table(title=f"seconds of a GRPO step (64 episodes of the {policy})", title_justify="left")
    for column in ("case", *PARTS, "rows"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for name, found in measured.items():
        table.add_row(name, *(f"{found[key]:.2f}" for key in PARTS), f"{found['rows']:.0f}")
    Console().print(table)
    first = measured["transformers"]
    return {
        "value": first["update"] / first["step"],
        "unit": "share of the step spent updating",
        "goal": None,
        "met": None,
        "played_by": policy,
        "cases": measured,
    }
