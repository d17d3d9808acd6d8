"""The GRPO stage as one call: model, reference, engine, collector, trainer, resume and final folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from visor_core.agent.environment import Environment
from visor_core.agent.episode import OnFinished
from visor_core.config import GRPOConfig, VLLMConfig
from visor_core.policies.base import ImageLoader
from visor_core.policies.encoding import CACHE_BYTES, Encoder
from visor_core.policies.vision import FEATURE_BYTES, VisionCache
from visor_core.questions import Question
from visor_core.training.checkpoints import OnCheckpoint, OnStep, TrainResult, finished, resume_point, step_of
from visor_core.training.engines import LiveRollouts, VLLMRollouts
from visor_core.training.loop import RunCallback, arguments, load_for_training, lora, trained_dtype
from visor_core.training.rewards import RewardContext, check_reachable, resolve
from visor_core.training.rollouts import Collector
from visor_core.training.trl_grpo import GRPOConfig as TRLGRPOConfig
from visor_core.training.turn_trainer import OnRollouts, TurnGRPOTrainer
from visor_core.training.weights import end_training

__all__ = ["TurnGRPOTrainer", "train_grpo"]


def train_grpo(
    model_folder: Path,
    questions: Sequence[Question],
    environment: Environment,
    images: ImageLoader,
    config: GRPOConfig,
    output: Path,
    seed: int,
    *,
    engine: Literal["transformers", "vllm"] = "transformers",
    dtype: str = "float32",
    vllm: VLLMConfig | None = None,
    context: RewardContext | None = None,
    on_step: OnStep | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    on_episode: OnFinished | None = None,
    on_rollouts: OnRollouts | None = None,
    cache_bytes: int = CACHE_BYTES,
    feature_bytes: int = FEATURE_BYTES,
) -> TrainResult:
    """Train on questions against an environment; continues from the last complete checkpoint in `output`.

    Args:
        model_folder: Hugging Face folder of the start (SFT) checkpoint; it is also the KL reference.
        environment: the episode's environment on a pinned index.
        images: resolves image references (usually the index).
        output: `checkpoint-N/` folders and, at the end, `final/`.
        engine: what rolls out. `transformers` on the live weights is the reference mode: fixed batches, keyed noise, a
            resumed run ends bit-identical. `vllm` is the throughput mode.
        vllm: how that engine is started.
        dtype: precision of the engine's weights and of those that LoRA leaves as they are; trained ones are float32.
        context: judge and page words for the rewards.
        on_step: metrics of every step; a resumed run reports the steps after its checkpoint again.
        on_checkpoint: folder, step and metrics of every complete checkpoint.
        on_episode: every scored trajectory of this process as it finishes, in the thread that rolls out; a resumed run
            repeats those after its checkpoint, under the same ids.
        on_rollouts: step and scored trajectories of this process, before the update; may repeat after a resume.
        cache_bytes, feature_bytes: memory of each process for encoded pictures, and for features of frozen vision.

    Raises:
        DataError: without questions.
        PolicyError: if the model folder or the engine is not usable.
        ConfigError: for reward weights that the preset does not have, or a preset that could never pay anything.
    """
    done = finished(output)
    if done is not None:
        return done
    check_reachable(resolve(config.reward, config.reward_weights), environment.config)
    output.mkdir(parents=True, exist_ok=True)
    precision = trained_dtype(dtype, config.lora_rank)
    model, processor = load_for_training(model_folder, dtype=precision, freeze=config.freeze_vision)
    callback = RunCallback(on_step, on_checkpoint, limit=config.save_total_limit)
    trainer = TurnGRPOTrainer(
        model=model,
        args=trl_arguments(config, output, seed),
        processing_class=processor,
        encoder=Encoder(processor, images, cache_bytes=cache_bytes),
        grpo=config,
        engine_mismatch=engine == "vllm",
        cache=VisionCache(feature_bytes) if config.freeze_vision else None,
        on_rollouts=on_rollouts,
        peft_config=lora(config.lora_rank, freeze=config.freeze_vision),
        callbacks=[callback],
    )
    point = resume_point(output)
    begins = step_of(point) if point else 0
    source: VLLMRollouts | LiveRollouts = (
        VLLMRollouts(trainer, environment, model_folder, seed, dtype, begins=begins, vllm=vllm or VLLMConfig())
        if engine == "vllm"
        else LiveRollouts(trainer, environment, seed)
    )
    trainer.collector = Collector(
        questions,
        source,
        config,
        seed,
        context or RewardContext(),
        pieces=processor.tokenizer.convert_ids_to_tokens,
        process=trainer.accelerator.process_index,
        processes=trainer.accelerator.num_processes,
        on_episode=on_episode,
    )
    try:
        trainer.train(resume_from_checkpoint=str(point) if point else None)
    finally:
        trainer.finish_ahead()
        source.close()
    return end_training(trainer, output, config.steps, callback.latest)


def trl_arguments(config: GRPOConfig, output: Path, seed: int) -> TRLGRPOConfig:
    """TRL's arguments: its loss with plain k3, no importance-weighted KL, no generation of its own."""
    return TRLGRPOConfig(
        **arguments(config.optimizer, output, steps=config.steps, save_steps=config.save_steps, seed=seed),
        per_device_train_batch_size=2,
        num_generations=2,
        steps_per_generation=1,
        num_iterations=1,
        max_completion_length=config.max_completion_tokens,
        temperature=config.temperature,
        beta=config.beta,
        epsilon=config.epsilon,
        epsilon_high=config.epsilon_high,
        loss_type=config.loss_type,
        entropy_coef=config.entropy_coefficient,
        use_bias_correction_kl=False,
        scale_rewards="none",
        disable_dropout=True,
        ignore_data_skip=True,
    )
