"""SFT warm start on turn rows: TRL's SFTTrainer with the rows, masks and forward pass of GRPO.

Source: VISOR (arXiv 2604.09508) warm-starts on teacher trajectories; defaults of SCoRE (arXiv 2609.15800): assistant
tokens only, vision tower and projector frozen, lr 1e-5 cosine, 3 epochs. TRL's own path for pictures tokenises batches
from chat messages; here every turn is encoded once, through the processor path of the engines, and the loss

    L = −Σ_rows Σ_k log π(y_k | C_t, y_<k) / (tokens of the batch)

covers only what the teacher wrote. Image placeholders have probability 0, as in sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor
from trl import SFTConfig as TRLSFTConfig
from trl import SFTTrainer

from visor_core.agent.trajectory import Trajectory
from visor_core.config import SFTConfig
from visor_core.errors import DataError
from visor_core.policies.base import ImageLoader
from visor_core.policies.encoding import CACHE_BYTES, Encoder
from visor_core.policies.vision import FEATURE_BYTES, VisionCache
from visor_core.training.batching import WeightedRow, collate, cut, per_token
from visor_core.training.checkpoints import (
    FittingCheckpoints,
    OnCheckpoint,
    OnStep,
    TrainResult,
    finished,
    resume_point,
)
from visor_core.training.forward import add_row_head, prepare
from visor_core.training.loop import (
    BriefCasts,
    RunCallback,
    accumulate,
    arguments,
    base_of,
    forbidden_ids,
    load_for_training,
    lora,
    trained_dtype,
)
from visor_core.training.rows import TurnRow, encode_turn
from visor_core.training.weights import end_training


class TurnSFTTrainer(BriefCasts, FittingCheckpoints, SFTTrainer):  # type: ignore[misc]
    """SFTTrainer whose examples are indices of turn rows.

    Args:
        rows: all training rows.
        encoder: the student's processor path.
        sft: batch sizes and the token budget.
        cache: features of frozen vision, or None.
    """

    def __init__(
        self,
        *,
        rows: Sequence[TurnRow],
        encoder: Encoder,
        sft: SFTConfig,
        cache: VisionCache | None = None,
        **kwargs: Any,
    ) -> None:
        dataset = Dataset.from_dict({"row": list(range(len(rows)))})
        super().__init__(train_dataset=dataset, data_collator=_indices, **kwargs)
        self.rows = rows
        self.encoder = encoder
        self.sft = sft
        self.cache = cache
        base = base_of(self.model)
        add_row_head(base, temperature=1.0, forbidden=forbidden_ids(base, self.processing_class))

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One optimizer step's micro-batches."""
        model.train()
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        # Planned over the rows of all processes: the number of forward passes must agree, or sharded weights hang.
        rows = [taught(self.rows[i]) for i in gather_object([int(i) for i in inputs["row"]])]
        tokens = sum(sum(w.weights) for w in rows)
        batches = cut(
            rows, self.sft.micro_batch_tokens, processes=processes, rank=rank, max_rows=self.sft.micro_batch_size
        )
        # The Trainer logs the mean over processes, which is also what DDP and FSDP make of the gradients.
        return accumulate(self, model, [self._micro_batch(model, mine, tokens) for mine in batches])

    def _micro_batch(self, model: Any, rows: Sequence[WeightedRow], tokens: float) -> Callable[[], Tensor]:
        def compute() -> Tensor:
            batch = collate([w.row for w in rows], self.encoder)
            base = base_of(self.accelerator.unwrap_model(model))
            given = prepare(base, self.encoder, batch, cache=self.cache)
            log_probs, _, hits = model(row_batch=given)
            mask = per_token([w.weights for w in rows], batch.completion_width).to(log_probs.device)
            metrics = self._metrics["train"]
            if bool(mask.any()):
                metrics["token_accuracy"].append(float((hits * mask).sum() / mask.sum()))
            metrics["padding"].append(1.0 - batch.real_tokens / batch.attention_mask.numel())
            return -(log_probs * mask).sum() / tokens * self.accelerator.num_processes

        return compute

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Lineage is written by the asset, not by TRL."""


def taught(row: TurnRow) -> WeightedRow:
    """A row whose tokens all weigh 1, but for those that must not be trained."""
    weights = tuple(float(trained) for trained in row.mask)
    return WeightedRow(row, weights, weights)


def _indices(examples: Sequence[dict[str, int]]) -> dict[str, Tensor]:
    return {"row": torch.tensor([example["row"] for example in examples])}


def sft_rows(trajectories: Sequence[Trajectory], encoder: Encoder, max_length: int) -> list[TurnRow]:
    """All turns of all trajectories as rows for the student; turns that no policy wrote are left out.

    Raises:
        DataError: if a row is longer than `max_length` (it is never truncated), or there is none.
    """
    rows = []
    for number, trajectory in enumerate(trajectories):
        for turn in trajectory.turns:
            if turn.forced and not turn.completion.token_ids and not turn.prompt.forced_prefix:
                continue
            row = encode_turn(turn, encoder, rollout=number, group=trajectory.trajectory_id)
            if row.length > max_length:
                raise DataError(
                    f"turn {turn.index} of trajectory {trajectory.trajectory_id} has {row.length} tokens, more than "
                    f"sft.max_length {max_length}: raise it, or show smaller images"
                )
            rows.append(row)
    if not rows:
        raise DataError("there is no turn to train on: materialize the asset `sft_dataset` with more trajectories")
    return rows


def train_sft(
    model_folder: Path,
    trajectories: Path | Sequence[Trajectory],
    images: ImageLoader,
    config: SFTConfig,
    output: Path,
    seed: int,
    *,
    dtype: str = "float32",
    on_step: OnStep | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    cache_bytes: int = CACHE_BYTES,
    feature_bytes: int = FEATURE_BYTES,
) -> TrainResult:
    """Train on teacher trajectories; continues from the last complete checkpoint in `output`, if there is one.

    Args:
        model_folder: Hugging Face folder of the base model.
        trajectories: folder of the trajectory store, or the trajectories themselves.
        images: resolves image references.
        output: `checkpoint-N/` folders and, at the end, `final/`.
        dtype: precision of the weights that LoRA leaves as they are; trained weights are float32.
        on_step: metrics of every step. A resumed run reports the steps after its checkpoint again.
        on_checkpoint: folder, step and metrics of every complete checkpoint.
        cache_bytes, feature_bytes: memory of each process for encoded pictures, and for features of frozen vision.

    Raises:
        DataError: if there is nothing to train on or a row is too long.
        PolicyError: if the model folder is not usable.
    """
    done = finished(output)
    if done is not None:
        return done
    output.mkdir(parents=True, exist_ok=True)
    precision = trained_dtype(dtype, config.lora_rank)
    model, processor = load_for_training(model_folder, dtype=precision, freeze=config.freeze_vision)
    records = _read(trajectories) if isinstance(trajectories, Path) else trajectories
    encoder = Encoder(processor, images, cache_bytes=cache_bytes)
    rows = sft_rows(records, encoder, config.max_length)
    steps = config.steps or math.ceil(config.epochs * len(rows) / config.batch_size)
    callback = RunCallback(on_step, on_checkpoint, limit=config.save_total_limit)
    shared = arguments(config.optimizer, output, steps=steps, save_steps=config.save_steps, seed=seed)
    args = TRLSFTConfig(
        **shared, per_device_train_batch_size=1, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}
    )
    args.per_device_train_batch_size = max(1, config.batch_size // args.world_size)
    trainer = TurnSFTTrainer(
        rows=rows,
        encoder=encoder,
        sft=config,
        cache=VisionCache(feature_bytes) if config.freeze_vision else None,
        model=model,
        args=args,
        processing_class=processor,
        peft_config=lora(config.lora_rank, freeze=config.freeze_vision),
        callbacks=[callback],
    )
    point = resume_point(output)
    trainer.train(resume_from_checkpoint=str(point) if point else None)
    return end_training(trainer, output, steps, callback.latest)


def _read(folder: Path) -> list[Trajectory]:
    from visor_core.trajectories.store import read_trajectories

    return read_trajectories(folder)
