"""One update in each of several row sets, under however many processes it is launched with; gradients are saved.

With `sharded` the model is prepared by accelerate's FSDP2, with a LoRA rank above 0 it carries adapters.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, gather_object
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from torch.distributed.tensor import DTensor

from tests.visor_core.training.bandit import bandit_config, build_trainer
from tests.visor_core.training.episodes import shown
from tests.visor_core.training.hand_rows import row, weighted
from visor_core.policies.encoding import Encoder
from visor_core.training.batching import WeightedRow


def rows(encoder: Encoder, count: int, *, pictures: bool = True) -> list[WeightedRow]:
    """Rows of different lengths; every third has no picture."""
    made = []
    for i in range(count):
        images = [shown(f"p{i}")] * (i % 3) if pictures else []
        made += weighted([row(encoder, i, i, images, 2 + i, range(1, 2 + i % 3))], (-1.0) ** i * (1 + i), 0.5 + i / 8)
    return made


def shard(accelerator: Accelerator, model: Any) -> Any:
    """FSDP2 as accelerate sets it up on accelerators; its launcher offers it for none on a CPU."""
    layers = ["LlamaDecoderLayer", "Idefics3EncoderLayer"]
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=layers,
        cpu_ram_efficient_loading=False,
    )
    state = AcceleratorState._shared_state
    state["distributed_type"], state["fsdp_plugin"] = DistributedType.FSDP, plugin
    return fsdp2_prepare_model(accelerator, model)


def whole(gradient: Any) -> torch.Tensor:
    """A gradient in one piece."""
    return (gradient.full_tensor() if isinstance(gradient, DTensor) else gradient).clone()


def main(checkpoint: Path, output: Path, kind: str = "", rank: int = 0) -> None:
    """Each process contributes its own rows; everything is gathered before the update, as in a training step."""
    trainer = build_trainer(checkpoint, output, bandit_config(beta=0.1, micro_batch_tokens=64, lora_rank=rank))
    if rank:
        # Adapters start at 0, which leaves half of their gradients 0.
        torch.manual_seed(0)
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    sharded = kind == "sharded" and trainer.accelerator.num_processes > 1
    model = shard(trainer.accelerator, trainer.model) if sharded else trainer.accelerator.prepare(trainer.model)
    process, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
    encoder = trainer.encoder
    cases = {
        "equal": (rows(encoder, 14), 7),
        "unequal": (rows(encoder, 14), 3),
        "no pictures last": (rows(encoder, 4, pictures=False) + rows(encoder, 3), 2),
    }
    found = {}
    for name, (made, cut) in cases.items():
        own = made if world == 1 else (made[:cut], made[cut:])[process]
        gathered = gather_object(own) if world > 1 else own
        trainer.model_wrapped = model
        model.zero_grad(set_to_none=True)
        loss = trainer.update(model, gathered)
        base = model if sharded else trainer.accelerator.unwrap_model(model)
        gradients = {n: whole(p.grad) for n, p in base.named_parameters() if p.grad is not None}
        found[name] = {"": loss, **gradients}
    if process == 0:
        torch.save(found, output / "gradients.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
