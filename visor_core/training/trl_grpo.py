"""TRL's GRPOTrainer without the vLLM import that comes with it, and with a reference model that is loaded and sharded
as the trained one is.

Where vLLM is installed, TRL 1.16 imports all of it for its own generation (ten seconds, and warnings about versions it
does not drive). This project drives vLLM itself (policies/vllm.py), so TRL is told that there is none while it loads.
Its reference model would run on random numbers where a checkpoint lacks weights, and FSDP2 would gather it as one unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from accelerate import Accelerator
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from trl import import_utils

from visor_core.policies.attention import use_short_rows
from visor_core.policies.transformers import load_checkpoint


@contextmanager
def _without_vllm() -> Iterator[None]:
    asked = import_utils.is_vllm_available
    import_utils.is_vllm_available = lambda *args, **kwargs: False
    try:
        yield
    finally:
        import_utils.is_vllm_available = asked


with _without_vllm():
    from trl import GRPOConfig, GRPOTrainer
    from trl.trainer import grpo_trainer


def _reference(folder: str, *, dtype: Any, **options: Any) -> Any:
    """What TRL loads beside a trained model: the same folder by the same checks."""
    model, _ = load_checkpoint(folder, dtype=str(dtype).removeprefix("torch."))
    use_short_rows(model)
    return model


def prepare_reference(model: Any, accelerator: Accelerator) -> Any:
    """Shard a reference model over the processes layer by layer, as accelerate shards the trained one (FSDP2)."""
    return fsdp2_prepare_model(accelerator, model).eval()


# TRL has no setting for either.
grpo_trainer.create_model_from_path = _reference
grpo_trainer.prepare_fsdp = prepare_reference

__all__ = ["GRPOConfig", "GRPOTrainer", "prepare_reference"]
