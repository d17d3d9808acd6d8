"""The trained weights in one piece, as a plain Hugging Face state: gathered from shards, LoRA adapters merged in.

Adapters are merged in a copy, W + (α/r)·B·A (arXiv 2106.09685): merging into live weights and back would round them.
The sum is taken and kept in float32, whatever W is stored in: what an adapter adds is often below half the distance of
two neighbouring bfloat16 numbers, and would be gone. Whoever loads the folder casts it, once, to what it computes in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visor_core.files import grant_by_umask
from visor_core.training.checkpoints import FINAL, TrainResult, save_final
from visor_core.training.loop import base_of

ADAPTED = ".base_layer"


def whole_state(accelerator: Any, wrapped: Any) -> dict[str, Tensor]:
    """All weights by their names in the Hugging Face model; every process must call, only the main one is answered.

    Args:
        wrapped: the model as the trainer runs it (DDP, FSDP, DeepSpeed, PEFT or plain).
    """
    state = accelerator.get_state_dict(wrapped)
    return merged(accelerator.unwrap_model(wrapped), state) if accelerator.is_main_process else {}


def merged(model: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state without adapters: PEFT's names taken off, each adapted weight replaced by its merged one, in float32."""
    if not hasattr(model, "get_base_model"):
        return state
    from peft.tuners.lora import LoraLayer

    prefix = "base_model.model."
    scales = {
        name: module.scaling["default"] for name, module in model.named_modules() if isinstance(module, LoraLayer)
    }
    plain = {}
    for key, value in state.items():
        if ".lora_" in key:
            continue
        module = key.partition(ADAPTED)[0]
        if key.endswith(f"{ADAPTED}.weight") and module in scales:
            down, up = (state[f"{module}.lora_{part}.default.weight"].to(value.device, torch.float32) for part in "AB")
            value = value.float() + scales[module] * (up @ down)
        plain[key.removeprefix(prefix).replace(ADAPTED, "")] = value
    return plain


def write_weights(model: Any, state: dict[str, Tensor], processor: Any, folder: Path) -> None:
    """Configuration, weights (safetensors) and processor as one Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    base_of(model).save_pretrained(folder, state_dict=state, safe_serialization=True)
    processor.save_pretrained(folder)
    grant_by_umask(folder)


def end_training(trainer: Any, output: Path, step: int, metrics: dict[str, float]) -> TrainResult:
    """Write the trained model as `final/`, by the main process; every process must call."""
    trainer.accelerator.wait_for_everyone()
    state = whole_state(trainer.accelerator, trainer.model_wrapped)
    if not trainer.accelerator.is_main_process:
        return TrainResult(output / FINAL, step, metrics)
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    return save_final(
        lambda folder: write_weights(model, state, trainer.processing_class, folder), output, step, metrics
    )
