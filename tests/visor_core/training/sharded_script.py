"""Two optimizer steps under FSDP2 as a launch file sets it up, then the second again from the first's checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, cast

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from torch.distributed.fsdp import FSDPModule
from trl.trainer import grpo_trainer

from tests.visor_core.training.bandit import bandit_config, build_trainer
from tests.visor_core.training.update_script import Share, rollouts, tell_sharded
from visor_core.policies.vision import VisionCache
from visor_core.training.checkpoints import MARKER, resume_point
from visor_core.training.loop import RunCallback
from visor_core.training.turn_trainer import TurnGRPOTrainer
from visor_core.training.weights import end_training


def plugin_of(launching: Path) -> FullyShardedDataParallelPlugin:
    """What the launcher hands to training by the environment."""
    arguments = launch_command_parser().parse_args(["--config_file", str(launching), "-m", "none"])
    arguments, _, _ = _validate_launch_command(arguments)
    given = prepare_multi_gpu_env(arguments)
    os.environ.update({key: value for key, value in given.items() if key.startswith("FSDP_")})
    return FullyShardedDataParallelPlugin()


def sharded_trainer(checkpoint: Path, output: Path, plugin: FullyShardedDataParallelPlugin) -> TurnGRPOTrainer:
    """A trainer as FSDP makes it on accelerators, with a frozen vision tower and a sharded reference."""
    config = bandit_config(
        steps=2, save_steps=1, beta=0.1, micro_batch_tokens=64, freeze_vision=True, dynamic_sampling="keep"
    )
    trainer = build_trainer(checkpoint, output, config, callbacks=[RunCallback(None, None)], cache=VisionCache())
    tell_sharded(plugin)
    trainer.is_fsdp_enabled = True
    trainer.ref_model = grpo_trainer.prepare_fsdp(trainer.ref_model, trainer.accelerator)
    process = trainer.accelerator.process_index
    shares = rollouts(trainer.encoder, "a", (2, 5)), rollouts(trainer.encoder, "b", (1, 3, 2))
    trainer.collector = cast("Any", Share(shares[process]))
    return trainer


def units_of(model: Any) -> dict[str, int]:
    """What is gathered together: modules that are sharded by themselves, and how many weights each gathers."""
    sharded = {name: module for name, module in model.named_modules() if isinstance(module, FSDPModule)}
    found = {}
    for name, module in sharded.items():
        inner = {id(p) for other in sharded.values() if other is not module for p in _within(other, module)}
        found[name] = sum(p.numel() for p in module.parameters() if id(p) not in inner)
    return found


def _within(module: Any, outer: Any) -> list[Any]:
    """The weights of a module, if it lies in another one."""
    return list(module.parameters()) if any(m is module for m in outer.modules()) else []


def main(checkpoint: Path, output: Path, launching: Path) -> None:
    """Train to `final/`; move it and the second checkpoint aside, and train to `final/` again."""
    plugin = plugin_of(launching)
    for attempt in range(2):
        trainer = sharded_trainer(checkpoint, output, plugin)
        point = resume_point(output)
        trainer.train(resume_from_checkpoint=str(point) if point else None)
        end_training(trainer, output, 2, {})
        units = [units_of(model) for model in (trainer.model_wrapped, trainer.ref_model)]
        (output / f"units-{trainer.accelerator.process_index}.json").write_text(json.dumps(units), encoding="utf-8")
        if attempt == 0 and trainer.accelerator.is_main_process:
            (output / "final").rename(output / "first")
            shutil.copytree(output / "checkpoint-2", output / "kept")
            (output / "checkpoint-2" / MARKER).unlink()
        trainer.accelerator.wait_for_everyone()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
