"""One update in each of several row sets, under however many processes it is launched with; gradients are saved."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from accelerate.utils import gather_object

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


def main(checkpoint: Path, output: Path) -> None:
    """Each process contributes its own rows; everything is gathered before the update, as in a training step."""
    trainer = build_trainer(checkpoint, output, bandit_config(beta=0.1, micro_batch_tokens=64))
    model = trainer.accelerator.prepare(trainer.model)
    rank, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
    encoder = trainer.encoder
    cases = {
        "equal": (rows(encoder, 14), 7),
        "unequal": (rows(encoder, 14), 3),
        "no pictures last": (rows(encoder, 4, pictures=False) + rows(encoder, 3), 2),
    }
    found = {}
    for name, (made, cut) in cases.items():
        own = made if world == 1 else (made[:cut], made[cut:])[rank]
        gathered = gather_object(own) if world > 1 else own
        trainer.model_wrapped = model
        model.zero_grad(set_to_none=True)
        loss = trainer.update(model, gathered)
        base = trainer.accelerator.unwrap_model(model)
        found[name] = {"": loss, **{n: p.grad.clone() for n, p in base.named_parameters()}}
    if rank == 0:
        torch.save(found, output / "gradients.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
