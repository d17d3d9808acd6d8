"""Who rolls out while the trainer trains: the live weights, a snapshot of them, or vLLM.

A source is refreshed between two updates and may then roll out while the next update changes the trained weights: with
`steps_ahead` the transformers engine therefore runs a copy of the model (its memory once more), vLLM its own weights.
Without it the transformers engine runs the trained weights themselves.
"""

from __future__ import annotations

import asyncio
import copy
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import AutocastKwargs, DistributedType

from visor_core.agent.bounds import engine_limits
from visor_core.agent.environment import Environment
from visor_core.agent.episode import OnFinished, run_reference, run_throughput
from visor_core.agent.trajectory import Trajectory
from visor_core.config import VLLMConfig
from visor_core.errors import ConfigError
from visor_core.policies.encoding import Encoder
from visor_core.policies.sampling import derive_seed
from visor_core.policies.transformers import TransformersPolicy
from visor_core.policies.vision import VisionCache
from visor_core.questions import Question
from visor_core.training.loop import base_of
from visor_core.training.weights import whole_state, write_weights

if TYPE_CHECKING:
    from visor_core.training.turn_trainer import TurnGRPOTrainer


TRAINING = "training"
"""What rollouts record in place of a digest of weights that change at every step; their group names seed and step."""


class LivePolicy:
    """The transformers engine of a trainer: `policy` runs the trained weights, or a copy of them as of `refresh`.

    Args:
        trainer: whose model is rolled out.
        snapshot: whether to run a copy, which an update does not touch.

    Raises:
        ConfigError: if the weights are sharded (FSDP, DeepSpeed).
    """

    def __init__(self, trainer: TurnGRPOTrainer, *, snapshot: bool) -> None:
        if trainer.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise ConfigError("sharded weights cannot roll out by transformers: set model.engine to vllm")
        self._trainer = trainer
        self._snapshot = snapshot
        model, encoder, vision = self._live(), trainer.encoder, trainer.cache
        if snapshot:
            # Two threads must share neither an encoder's cache nor that of features.
            model, encoder = (
                copied(model),
                Encoder(encoder.processor, encoder.loader, cache_bytes=encoder.cache_bytes),
            )
            vision = None if vision is None else VisionCache(vision.max_bytes)
        batch = trainer.grpo.rollout_batch
        self.policy = TransformersPolicy.from_model(
            model, encoder.processor, encoder.loader, name="grpo", max_batch=batch, vision=vision
        )
        self.policy.encoder = encoder

    def _live(self) -> Any:
        return base_of(self._trainer.accelerator.unwrap_model(self._trainer.model))

    def refresh(self) -> None:
        """Copy the trained weights, if a copy is what rolls out."""
        if self._snapshot:
            with torch.no_grad():
                for kept, live in zip(self.policy.model.parameters(), self._live().parameters(), strict=True):
                    kept.copy_(live)


def copied(model: Any) -> Any:
    """A copy of a model for inference, without what trainers put in the place of its `forward`.

    Those replacements hold on to the model they were made for, so a copy of them would run the trained weights.
    """
    replaced = model.__dict__.pop("forward", None)
    try:
        return copy.deepcopy(model).requires_grad_(False)
    finally:
        if replaced is not None:
            model.forward = replaced


class LiveRollouts:
    """Rollouts by the reference driver: fixed batches, keyed noise."""

    def __init__(self, trainer: TurnGRPOTrainer, environment: Environment, seed: int) -> None:
        self._trainer = trainer
        self._environment = environment
        self._seed = seed
        self._live = LivePolicy(trainer, snapshot=trainer.grpo.steps_ahead > 0)
        self.refresh = self._live.refresh

    def close(self) -> None:
        """Nothing to give back."""

    def __call__(self, step: int, questions: Sequence[Question], on_finished: OnFinished) -> list[Trajectory]:
        config = self._trainer.grpo
        # Here weights are cast once for all steps of decoding, whatever training does.
        with self._trainer.accelerator.autocast(autocast_handler=AutocastKwargs()):
            return run_reference(
                self._environment,
                self._live.policy,
                questions,
                rollouts=config.group_size,
                seed=self._seed,
                step=step,
                temperature=config.temperature,
                batch_size=config.rollout_batch,
                on_finished=on_finished,
                identity=TRAINING,
            )


class VLLMRollouts:
    """Rollouts by vLLM in throughput mode; its weights are replaced in place by `refresh`.

    The folder handed over is one for all processes, rewritten by the main one every time and removed at the end.
    `begins` is the optimizer step that training continues from. The engine is started for what `environment`'s
    contexts can come to.
    """

    def __init__(
        self,
        trainer: TurnGRPOTrainer,
        environment: Environment,
        model_folder: Path,
        seed: int,
        dtype: str,
        *,
        begins: int,
        vllm: VLLMConfig,
    ) -> None:
        from visor_core.policies.vllm import VLLMPolicy

        self.trainer = trainer
        self.environment = environment
        self.seed = seed
        self.folder = Path(trainer.args.output_dir) / "rollout-weights"
        # The start's weights are replaced before the first rollout. The step enters the engine's seed, so that a
        # resumed run does not draw the noise of the first steps again.
        draws = derive_seed((seed, trainer.accelerator.process_index, begins)) % 2**31
        self.policy: Any = VLLMPolicy(
            model_folder,
            trainer.encoder.loader,
            dtype=dtype,
            seed=draws,
            **asdict(
                engine_limits(
                    environment.config,
                    vllm,
                    episodes=trainer.grpo.rollout_batch,
                    gpu_memory=trainer.grpo.engine_memory,
                )
            ),
            # The engine's process would take the first visible GPU, whichever process of the training started it.
            gpu=trainer.accelerator.device.index,
        )
        self._loaded = -1

    def refresh(self) -> None:
        """Hand the trained weights over, if an optimizer step has changed them; every process must call."""
        if self._loaded == self.trainer.state.global_step:
            return
        accelerator, wrapped = self.trainer.accelerator, self.trainer.model_wrapped
        state = whole_state(accelerator, wrapped)
        if accelerator.is_main_process:
            shutil.rmtree(self.folder, ignore_errors=True)
            write_weights(accelerator.unwrap_model(wrapped), state, self.trainer.processing_class, self.folder)
        accelerator.wait_for_everyone()
        self.policy.load_weights(self.folder)
        # Nobody may rewrite the folder while another process still reads it.
        accelerator.wait_for_everyone()
        self._loaded = self.trainer.state.global_step

    def close(self) -> None:
        """Stop the engine and remove its weights."""
        self.policy.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __call__(self, step: int, questions: Sequence[Question], on_finished: OnFinished) -> list[Trajectory]:
        config = self.trainer.grpo
        return asyncio.run(
            run_throughput(
                self.environment,
                self.policy,
                questions,
                rollouts=config.group_size,
                seed=self.seed,
                step=step,
                temperature=config.temperature,
                concurrency=config.rollout_batch,
                on_finished=on_finished,
                identity=TRAINING,
            )
        )
