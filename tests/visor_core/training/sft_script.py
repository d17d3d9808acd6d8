"""Two steps of supervised fine-tuning under however many processes; losses and numbers of forward passes are saved."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.tiny_model import picture
from tests.visor_core.training.episodes import episode, question, shown, turn
from visor_core.agent.trajectory import Trajectory
from visor_core.config import OptimizerConfig, SFTConfig
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


def main(checkpoint: Path, output: Path) -> None:
    """Train, and write what each process saw."""
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
    seen = {"passes": passes, "steps": steps}
    (output / f"seen-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
