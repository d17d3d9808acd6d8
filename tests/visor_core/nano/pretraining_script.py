"""One process of a base model's training for `test_pretraining`: the pages are written already."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.visor_core.nano.test_pretraining import SHORT
from visor_core.nano.pretraining import train_base_model
from visor_core.nano.world import write_world


def main(world_folder: Path, primer_folder: Path, output: Path, dies_at: int) -> None:
    """Train in both processes; the first keeps what each step reported, and both fail after step `dies_at`."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    steps: list[dict[str, Any]] = []

    def on_step(figures: dict[str, Any]) -> None:
        steps.append(figures)
        if figures["step"] == dies_at:
            raise RuntimeError("killed")

    world, primer = write_world(world_folder, "train", SHORT, 0), write_world(primer_folder, "primer", SHORT, 0)
    train_base_model(world, primer, output, SHORT, 0, on_step)
    if dist.get_rank() == 0:
        output.with_suffix(".json").write_text(json.dumps(steps), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]))
