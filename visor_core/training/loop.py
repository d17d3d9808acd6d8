"""What SFT and GRPO share around a step: model set-up, training arguments, micro-batch accumulation and callbacks.

Micro-batches of one optimizer step are accumulated here rather than by the Trainer, because their number follows from a
token budget and differs from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import AutocastKwargs, DistributedType
from torch import Tensor
from transformers import TrainerCallback

from visor_core.config import OptimizerConfig
from visor_core.files import grant_by_umask
from visor_core.policies.attention import use_short_rows
from visor_core.policies.precision import fast_bfloat16
from visor_core.policies.sampling import forbidden_tokens
from visor_core.policies.transformers import load_checkpoint
from visor_core.training.checkpoints import OnCheckpoint, OnStep, mark_complete, remove_old
from visor_core.training.forward import freeze_vision


def load_for_training(model_folder: Path, *, dtype: str = "float32", freeze: bool = False) -> tuple[Any, Any]:
    """Model in training mode and processor; vision tower and projector frozen on demand.

    Raises:
        PolicyError: if the folder is no usable checkpoint.
    """
    model, processor = load_checkpoint(model_folder, dtype=dtype)
    use_short_rows(model)
    if freeze:
        freeze_vision(model)
    return model.train(), processor


def trained_dtype(dtype: str, lora_rank: int) -> str:
    """Precision to load weights in for training, where the engine's is `dtype`.

    Trained weights are float32: an AdamW step of 1e-6 on a bfloat16 weight of 1e-2 rounds to nothing. Under LoRA the
    loaded weights stay fixed (PEFT keeps its adapters in float32), so the engine's precision will do.
    """
    return dtype if lora_rank else "float32"


def base_of(model: Any) -> Any:
    """The Hugging Face model below PEFT."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def forbidden_ids(model: Any, processor: Any) -> tuple[int, ...]:
    """What sampling never draws, and scoring gives probability 0."""
    return forbidden_tokens(processor.tokenizer, model.config)


def lora(rank: int, *, freeze: bool) -> Any:
    """PEFT's LoRA on all linear layers but the head (and the vision side, if frozen); None for rank 0."""
    if rank == 0:
        return None
    from peft import LoraConfig

    excluded = r".*\b(vision_model|visual|vision_tower|connector|multi_modal_projector)\b.*" if freeze else None
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", exclude_modules=excluded)


def arguments(config: OptimizerConfig, output: Path, *, steps: int, save_steps: int, seed: int) -> dict[str, Any]:
    """Keyword arguments that TRL's SFTConfig and GRPOConfig share."""
    return {
        "output_dir": str(output),
        "max_steps": steps,
        "save_strategy": "steps",
        "save_steps": save_steps,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_first_step": True,
        "report_to": [],
        "disable_tqdm": True,
        "seed": seed,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": 0 if config.schedule == "constant" else min(steps, round(config.warmup_ratio * steps)),
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "adam_beta2": config.beta2,
        "bf16": config.bf16 and fast_bfloat16(),
        "gradient_checkpointing": config.gradient_checkpointing,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "use_cpu": not torch.cuda.is_available(),
        "gradient_accumulation_steps": 1,
    }


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Reports each step's metrics, and each checkpoint once it is complete; old ones are then removed.

    Args:
        limit: newest checkpoints that are kept, the best beside them; none keeps all.
    """

    def __init__(self, on_step: OnStep | None, on_checkpoint: OnCheckpoint | None, *, limit: int | None = None) -> None:
        self.on_step = on_step
        self.on_checkpoint = on_checkpoint
        self.limit = limit
        self.latest: dict[str, float] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """A step's metrics, numbers only; the closing summary of the Trainer is left out."""
        if not logs or "train_runtime" in logs:
            return
        metrics = {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
        self.latest = {**metrics, "step": float(state.global_step)}
        if self.on_step is not None and state.is_world_process_zero:
            self.on_step(dict(self.latest))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint complete, then report it."""
        # Every process writes a random state of its own; one that is missing would not resume bit-identically.
        PartialState().wait_for_everyone()
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        grant_by_umask(folder)
        mark_complete(folder, state.global_step, self.latest)
        if self.on_checkpoint is not None:
            self.on_checkpoint(folder, state.global_step, dict(self.latest))
        if self.limit is not None:
            remove_old(Path(args.output_dir), self.limit)


class BriefCasts:
    """Mixin of the trainers: on accelerators a weight's bfloat16 copy lasts for one product, not for the whole pass.

    Autocast would keep the copies of all weights, trained and reference, until its block ends: 4 bytes a parameter, to
    spare casts of weights that a forward pass uses once.
    """

    accelerator: Any

    def create_accelerator_and_postprocess(self) -> None:
        """What transformers' Trainer makes its accelerator by."""
        super().create_accelerator_and_postprocess()  # type: ignore[misc]
        if self.accelerator.device.type != "cpu":
            self.accelerator.autocast_handler = AutocastKwargs(cache_enabled=False)


def accumulate(trainer: Any, model: Any, losses: Sequence[Callable[[], Tensor]]) -> Tensor:
    """Run micro-batches one after the other, backward included; gradients meet across processes at the last.

    Returns:
        The summed loss, detached.
    """
    total = torch.zeros((), device=trainer.accelerator.device)
    for index, compute in enumerate(losses):
        last = index == len(losses) - 1
        with _synchronised(trainer.accelerator, model, last):
            with trainer.compute_loss_context_manager():
                loss = compute()
            trainer.accelerator.backward(loss)
        total += loss.detach().float()
    return total


@contextmanager
def _synchronised(accelerator: Any, model: Any, last: bool) -> Iterator[None]:
    """Gradients are exchanged only at the last micro-batch (DeepSpeed reads the state, DDP the context).

    Under FSDP they are at every one: a process that puts it off holds the gradient of the whole model.
    """
    accelerator.gradient_state._set_sync_gradients(last)
    at_once = last or accelerator.distributed_type == DistributedType.FSDP
    context: AbstractContextManager[Any] = nullcontext() if at_once else accelerator.no_sync(model)
    try:
        with context:
            yield
    finally:
        accelerator.gradient_state._set_sync_gradients(True)
