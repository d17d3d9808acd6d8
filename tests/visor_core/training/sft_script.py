"""Two steps of supervised fine-tuning under however many processes; losses and numbers of forward passes are saved.

With a launch file the weights are sharded as it says (FSDP2). `chunk` is how many logits the LM head makes at once.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.tiny_model import picture
from tests.visor_core.training.episodes import episode, question, shown, turn
from tests.visor_core.training.sharded_script import plugin_of
from tests.visor_core.training.update_script import chunks_of, tell_sharded
from visor_core.agent.trajectory import Trajectory
from visor_core.config import OptimizerConfig, SFTConfig
from visor_core.training import sft
from visor_core.training.sft import TurnSFTTrainer, train_sft


def lessons() -> list[Trajectory]:
    """Eight answers of very different lengths, with no, one and two pictures."""
    made = []
    for i in range(8):
        words = " ".join(["acme"] * (1 + 5 * (i % 4)))
        reply = f"<think>{words}</think><answer>{i}</answer>"
        context = [shown(f"p{i}")] * (i % 3)
        asked = question((f"p{i}",), question_id=f"q{i}")
        made.append(replace(episode(asked, [turn(1, "answer", context=context, reply=reply)]), trajectory_id=f"t{i}"))
    return made


def shard(launching: Path) -> None:
    """Have `train_sft` make its trainer as on accelerators."""
    plugin = plugin_of(launching)

    class Sharded(TurnSFTTrainer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            tell_sharded(plugin)
            self.is_fsdp_enabled = True

    sft.TurnSFTTrainer = Sharded  # type: ignore[misc]


def main(checkpoint: Path, output: Path, launching: str = "", chunk: int = 0) -> None:
    """Train, and write what each process saw."""
    chunks: list[list[int]] = []
    building = TurnSFTTrainer.__init__

    def watched(trainer: Any, **options: Any) -> None:
        building(trainer, **options)
        chunks.append(chunks_of(trainer.model, chunk))

    TurnSFTTrainer.__init__ = watched  # type: ignore[method-assign]
    if launching:
        shard(Path(launching))
    passes: list[int] = []
    inner = TurnSFTTrainer._micro_batch
    stepping = TurnSFTTrainer.training_step

    def counting(*args: Any, **options: Any) -> Any:
        passes[-1] += 1
        return inner(*args, **options)

    def step(*args: Any, **options: Any) -> Any:
        passes.append(0)
        return stepping(*args, **options)

    TurnSFTTrainer._micro_batch = counting  # type: ignore[method-assign]
    TurnSFTTrainer.training_step = step  # type: ignore[method-assign]
    steps: list[dict[str, float]] = []
    config = SFTConfig(
        optimizer=OptimizerConfig(learning_rate=1e-3, schedule="constant"), steps=2, batch_size=4, micro_batch_size=2,
        micro_batch_tokens=64, max_length=128, freeze_vision=False, save_steps=2,
    )  # fmt: skip
    train_sft(checkpoint, lessons(), picture, config, output, 0, on_step=steps.append)
    seen = {"passes": passes, "steps": steps, "chunks": chunks[0]}
    (output / f"seen-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
