"""One training step for each of several shares of rollouts, under however many processes; gradients are saved.

With `sharded` the model is prepared by accelerate's FSDP2, with a LoRA rank above 0 it carries adapters. `chunk` is how
many logits the LM head makes at once; how many chunks each of its calls took is written down by each process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from torch.distributed.tensor import DTensor

from tests.visor_core.training.bandit import bandit_config, build_trainer
from tests.visor_core.training.episodes import shown
from tests.visor_core.training.hand_rows import row
from visor_core.policies.encoding import Encoder
from visor_core.training import forward
from visor_core.training.credit import CreditRollout, CreditTurn
from visor_core.training.loop import base_of
from visor_core.training.rollouts import Collected, StepRollout


def rollouts(encoder: Encoder, group: str, turns: Sequence[int], *, pictures: bool = True) -> list[StepRollout]:
    """A group of rollouts with so many turns, of different rewards and lengths; every third row has no picture."""
    made = []
    for number, count in enumerate(turns):
        rows = [
            row(
                encoder, number, i, [shown(f"p{i}")] * ((i + number) % 3 if pictures else 0), 2 + i + 2 * number,
                range(1, 2 + (i + number) % 3),
            )
            for i in range(count)
        ]  # fmt: skip
        credit = CreditRollout(group, float(number), tuple(CreditTurn(len(r.completion_ids)) for r in rows))
        made.append(StepRollout(tuple(rows), credit))
    return made


class Share:
    """A collector that hands out this process's share."""

    def __init__(self, own: Sequence[StepRollout]) -> None:
        self.own = own
        self.source = self

    def refresh(self) -> None:
        """Nothing to copy."""

    def collect(self, step: int) -> Collected:
        """The share."""
        return Collected((), tuple(self.own))


def shard(accelerator: Accelerator, model: Any) -> Any:
    """FSDP2 as accelerate sets it up on accelerators."""
    layers = ["LlamaDecoderLayer", "Idefics3EncoderLayer"]
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=layers,
        cpu_ram_efficient_loading=False,
    )
    tell_sharded(plugin)
    return fsdp2_prepare_model(accelerator, model)


def tell_sharded(plugin: FullyShardedDataParallelPlugin) -> None:
    """Put accelerate into the state of FSDP, which its launcher offers for none on a CPU."""
    AcceleratorState._shared_state["fsdp_plugin"] = plugin
    for state in (AcceleratorState, PartialState):
        state._shared_state["distributed_type"] = DistributedType.FSDP


def whole(gradient: Any) -> torch.Tensor:
    """A gradient in one piece."""
    return (gradient.full_tensor() if isinstance(gradient, DTensor) else gradient).clone()


def chunks_of(model: Any, chunk: int) -> list[int]:
    """Limits the logits made at once; returns the list to which every call of the head appends its chunks."""
    seen: list[int] = []
    if chunk:
        forward.CHUNK_ELEMENTS = chunk
        head = base_of(model).get_output_embeddings()
        size = max(1, chunk // head.out_features)
        head.register_forward_pre_hook(lambda module, given: seen.append(-(-len(given[0]) // size)))
    return seen


def main(checkpoint: Path, output: Path, kind: str = "", rank: int = 0, chunk: int = 0) -> None:
    """Each process rolls out its own share; the training step gathers, weighs and plans what all have."""
    config = bandit_config(beta=0.1, micro_batch_tokens=64, lora_rank=rank, entropy_coefficient=0.03)
    trainer = build_trainer(checkpoint, output, config)
    if rank:
        # Adapters start at 0, which leaves half of their gradients 0.
        torch.manual_seed(0)
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    chunks = chunks_of(trainer.model, chunk)
    sharded = kind == "sharded" and trainer.accelerator.num_processes > 1
    model = shard(trainer.accelerator, trainer.model) if sharded else trainer.accelerator.prepare(trainer.model)
    process, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
    encoder = trainer.encoder
    cases = {
        "equal": (rollouts(encoder, "a", (2, 5)), rollouts(encoder, "b", (4, 3))),
        "unequal": (rollouts(encoder, "a", (1, 2)), rollouts(encoder, "b", (5, 4, 2))),
        "none": ([], rollouts(encoder, "b", (1, 3))),
        "no pictures first": (rollouts(encoder, "a", (1, 2), pictures=False), rollouts(encoder, "b", (3, 2))),
    }
    found = {}
    for name, shares in cases.items():
        trainer.collector = cast("Any", Share([*shares[0], *shares[1]] if world == 1 else shares[process]))
        trainer.model_wrapped = model
        model.zero_grad(set_to_none=True)
        loss = trainer.training_step(model, {})
        base = model if sharded else trainer.accelerator.unwrap_model(model)
        gradients = {n: whole(p.grad) for n, p in base.named_parameters() if p.grad is not None}
        found[name] = {"": loss, **gradients}
    found["processes"] = {"": torch.tensor(world)}
    (output / f"chunks-{process}.json").write_text(json.dumps(chunks), encoding="utf-8")
    if process == 0:
        torch.save(found, output / "gradients.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
