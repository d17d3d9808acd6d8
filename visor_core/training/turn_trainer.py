"""GRPO for contexts that are rebuilt every turn: a subclass of TRL's GRPOTrainer that overrides `training_step`.

Sources: GRPO (arXiv 2402.03300), VISOR (2604.09508), turn rows and per-rollout normalisation of SCoRE (2609.15800).
TRL's own loop trains one growing sequence a rollout; here a step is

    questions → rollouts (RolloutSource) → rewards → rows → advantages and token weights (credit)
    → token-budget micro-batches → reference log-probabilities → TRL's `_compute_loss` and backward, each

TRL computes, with ρ = π/π_old, A and w per token and num_items = L (all trained tokens of the step),

    loss = Σ w·( −min(ρA, clip(ρ, 1−ε, 1+ε_high)·A) + β·(π_ref/π − ln(π_ref/π) − 1) ) / L

(the clipped surrogate of PPO, arXiv 1707.06347, with an upper bound of its own as in DAPO; the k3 estimator of the KL
divergence, Schulman, "Approximating KL Divergence", 2020), less `entropy_coefficient` times the mean entropy of the
step's tokens, weighed by w too. With `loss_type: cispo` (MiniMax-M1, arXiv 2506.13585) −min(ρ, ε_high)·A·ln π stands in
place of the minimum, the weight detached. `tool_mask` carries w, so that policy and KL term are weighed alike; the sum
over micro-batches does not depend on how rows are cut. π_old is π itself (detached) when rollouts are fresh, and the
recorded sampling log-probabilities when they are a step old (`steps_ahead`; ρ then corrects for the engine as well).
Fresh rollouts of another engine (vLLM) are corrected by the truncated ratio min(π/π_engine, cap), which multiplies A
(truncated importance sampling, IMPALA, arXiv 1802.01561). Not used of TRL: its generation, its reward functions, its
dataset (a placeholder).
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback

from visor_core.agent.trajectory import Trajectory
from visor_core.config import GRPOConfig
from visor_core.errors import ConfigError, DataError
from visor_core.policies.encoding import Encoder
from visor_core.policies.vision import VisionCache
from visor_core.training.ahead import Ahead
from visor_core.training.batching import WeightedRow, collate, cut, per_token
from visor_core.training.checkpoints import FittingCheckpoints
from visor_core.training.forward import ModelInputs, add_row_head, prepare
from visor_core.training.loop import BriefCasts, accumulate, base_of, forbidden_ids
from visor_core.training.rollouts import Collected, Collector, figures, summary, weigh
from visor_core.training.trl_grpo import GRPOConfig as TRLGRPOConfig
from visor_core.training.trl_grpo import GRPOTrainer

OnRollouts = Callable[[int, Sequence[Trajectory]], None]


class TurnGRPOTrainer(BriefCasts, FittingCheckpoints, GRPOTrainer):  # type: ignore[misc]
    """GRPOTrainer on turn rows.

    Args:
        encoder: the processor path shared with the engine.
        grpo: the project's configuration.
        engine_mismatch: whether rollouts come from another engine than the one that scores them.
        cache: features of frozen vision, or None.
        on_rollouts: step and this process's scored trajectories, before the update.
    """

    def __init__(
        self,
        *,
        model: Any,
        args: TRLGRPOConfig,
        processing_class: Any,
        encoder: Encoder,
        grpo: GRPOConfig,
        engine_mismatch: bool = False,
        cache: VisionCache | None = None,
        on_rollouts: OnRollouts | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            processing_class=processing_class,
            reward_funcs=[_never_called],
            train_dataset=Dataset.from_dict({"prompt": [""] * args.max_steps}),
            **kwargs,
        )
        if self.aux_loss_enabled:
            raise ConfigError("mixture-of-experts models with a router loss are not supported by grpo")
        self.remove_callback(PrinterCallback)
        self.encoder = encoder
        self.grpo = grpo
        self.engine_mismatch = engine_mismatch
        self.cache = cache
        self.on_rollouts = on_rollouts
        self.collector: Collector | None = None
        self.deduplicate_images = True
        self.sort_rows = True
        # TRL divides by it; the Trainer sets it only inside `train`.
        self.current_gradient_accumulation_steps = 1
        self._ahead: Ahead | None = None
        self._inputs: dict[str, Any] = {}
        self._seconds: dict[str, float] = {}
        for network in (self.model, self.ref_model):
            if network is not None:
                base = base_of(self.accelerator.unwrap_model(network))
                add_row_head(base, temperature=args.temperature, forbidden=forbidden_ids(base, processing_class))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One empty batch a step: what a step trains on is decided in `training_step`."""
        return DataLoader(range(self.args.max_steps), batch_size=1, collate_fn=_nothing)  # type: ignore[arg-type]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Lineage is written by the asset, not by TRL."""

    # One step.

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Roll out, score, and accumulate the gradient of one optimizer step."""
        model.train()
        began = time.perf_counter()
        collected, staleness = self._collect(self.state.global_step)
        self._seconds = {"rollout": time.perf_counter() - began, "reference": 0.0}
        if self.on_rollouts is not None:
            self.on_rollouts(self.state.global_step, collected.trajectories)
        rollouts = gather_object(list(collected.rollouts))
        rows = weigh(rollouts, self.grpo)
        updating = time.perf_counter()
        loss = self.update(model, rows, stale=staleness > 0)
        self._seconds["update"] = time.perf_counter() - updating - self._seconds["reference"]
        self._log_step(collected, rows, staleness, time.perf_counter() - began)
        self._step += 1
        return loss

    def _collect(self, step: int) -> tuple[Collected, int]:
        """Rollouts of a step and how many optimizer steps older than the weights they are.

        With `steps_ahead` 1 the next step is rolled out in a thread of its own while this one updates, except across a
        checkpoint: a resumed run could not repeat those.

        Raises:
            AssertionError: if rollouts are older than `steps_ahead`.
        """
        assert self.collector is not None, "set `collector` before training"
        began = time.perf_counter()
        if self._ahead is not None and self._ahead.step == step:
            timed, version = self._ahead.rollouts.result(), self._ahead.version
            collected = timed.collected
            metrics = self._metrics["train"]
            metrics["seconds/overlap"].append(max(0.0, min(timed.ended, began) - timed.began))
            metrics["seconds/waited"].append(max(0.0, timed.ended - began))
        else:
            self.collector.source.refresh()
            collected, version = self.collector.collect(step), step
        self._ahead = None
        staleness = step - version
        assert 0 <= staleness <= self.grpo.steps_ahead, f"rollouts are {staleness} optimizer steps old"
        following = step + 1
        if self.grpo.steps_ahead and following < self.args.max_steps and following % int(self.args.save_steps):
            self.collector.source.refresh()
            self._ahead = Ahead.begin(self.collector, following, version=step)
        return collected, staleness

    def finish_ahead(self) -> None:
        """Let rollouts under way come to their end; their result is dropped."""
        if self._ahead is not None:
            concurrent.futures.wait([self._ahead.rollouts])
            self._ahead = None

    def update(self, model: Any, rows: Sequence[WeightedRow], *, stale: bool = False) -> Tensor:
        """Accumulate the gradient of the rows of *all* processes (every process is given the same rows).

        Returns:
            The loss, averaged over processes; 0 without rows.
        """
        if not rows:
            return torch.zeros((), device=self.accelerator.device)
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        trained = sum(weight != 0.0 for w in rows for weight in w.weights)
        mass = sum(sum(w.weights) for w in rows)
        batches = cut(rows, self.grpo.micro_batch_tokens, processes=processes, rank=rank, sort=self.sort_rows)
        loss = accumulate(self, model, [self._micro_batch(model, mine, trained, mass, stale) for mine in batches])
        return self.accelerator.reduce(loss, reduction="mean")

    def _micro_batch(
        self, model: Any, rows: Sequence[WeightedRow], trained: int, mass: float, stale: bool
    ) -> Callable[[], Tensor]:
        def compute() -> Tensor:
            inputs = self._row_inputs(model, rows, trained, stale)
            # TRL's entropy bonus is a mean over the micro-batch (its weight at least 1); times the micro-batch's share
            # of the step it becomes the mean over the step, however rows are cut.
            share = max(1.0, float(inputs["tool_mask"].sum())) / max(1.0, mass)
            self.entropy_coef = self.grpo.entropy_coefficient * share * self.accelerator.num_processes
            return self._compute_loss(model, inputs)

        return compute

    def _row_inputs(self, model: Any, rows: Sequence[WeightedRow], trained: int, stale: bool) -> dict[str, Any]:
        """What TRL's `_compute_loss` reads; `pixel_values` carries the whole `ModelInputs` to the forward pass."""
        device = self.accelerator.device
        batch = collate([w.row for w in rows], self.encoder)
        base = base_of(self.accelerator.unwrap_model(model))
        given = prepare(base, self.encoder, batch, cache=self.cache, deduplicate=self.deduplicate_images)
        width = batch.completion_width
        mask = per_token([[1.0] * len(w.row.completion_ids) for w in rows], width).to(device)
        empty = torch.zeros((len(rows), 0), dtype=torch.long, device=device)
        inputs: dict[str, Any] = {
            "prompt_ids": empty,
            "prompt_mask": empty,
            "completion_ids": torch.zeros((len(rows), width), dtype=torch.long, device=device),
            "completion_mask": mask,
            "tool_mask": per_token([w.weights for w in rows], width).to(device),
            "advantages": per_token([w.advantages for w in rows], width).to(device),
            "num_items_in_batch": torch.tensor(float(trained), device=device),
            "pixel_values": given,
        }
        if stale or self.engine_mismatch:
            for w in rows:
                if not w.row.old_logprobs:
                    raise DataError(
                        f"turn {w.row.turn} of group {w.row.group} has no log-probabilities to correct stale or "
                        "foreign rollouts by: use an engine that records them"
                    )
            sampled = per_token([w.row.old_logprobs for w in rows], width).to(device)
            inputs["old_per_token_logps" if stale else "engine_logps"] = sampled
        if self.beta != 0.0:
            began = time.perf_counter()
            inputs["ref_per_token_logps"] = self._reference(model, given)
            self._seconds["reference"] = self._seconds.get("reference", 0.0) + time.perf_counter() - began
        metrics = self._metrics["train"]
        metrics["padding"].append(1.0 - batch.real_tokens / batch.attention_mask.numel())
        metrics["micro_batch_tokens"].append(float(batch.real_tokens))
        return inputs

    def _reference(self, model: Any, given: ModelInputs) -> Tensor:
        """(B, C) log-probabilities under the reference: its own model, or the adapters switched off."""
        with torch.no_grad(), self.accelerator.autocast():
            if self.ref_model is not None:
                return self.ref_model(row_batch=given)[0]
            with self.accelerator.unwrap_model(model).disable_adapter():
                return model(row_batch=given)[0]

    # What TRL calls.

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._inputs = inputs
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self, model: Any, *args: Any, pixel_values: Any = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor, None]:
        """Log-probabilities (B, C) and entropies (B, C) of the rows in `pixel_values`.

        Rollouts of another engine: the truncated importance ratio is folded into the advantages here, where the scoring
        model's log-probabilities are first known (TRL reads its own ratio only with `use_vllm`, after another pass).
        """
        with self.accelerator.autocast():
            log_probs, entropies, _ = model(row_batch=pixel_values)
        engine = self._inputs.get("engine_logps")
        if engine is not None:
            mask = self._inputs["completion_mask"]
            ratio = torch.exp((log_probs.detach() - engine) * mask).clamp(max=self.grpo.importance_cap)
            self._inputs["advantages"] = self._inputs["advantages"] * ratio
            self._metrics["train"]["importance_ratio"].append(float((ratio * mask).sum() / mask.sum()))
        return log_probs, entropies, None

    def _log_step(self, collected: Collected, rows: Sequence[WeightedRow], staleness: int, seconds: float) -> None:
        metrics = self._metrics["train"]
        # Over the episodes of all processes, of which some may have more than others.
        for name, value in summary(gather_object([figures(t) for t in collected.trajectories])).items():
            metrics[name].append(value)
        counts = gather_object([(collected.skipped_groups, collected.oversized_rows)])
        metrics["skipped_groups"].append(float(sum(skipped for skipped, _ in counts)))
        metrics["oversized_rows"].append(float(sum(oversized for _, oversized in counts)))
        metrics["rows"].append(float(len(rows)))
        metrics["trained_tokens"].append(float(sum(len(w.weights) for w in rows)))
        metrics["staleness"].append(float(staleness))
        for name, value in {**self._seconds, "step": seconds}.items():
            metrics[f"seconds/{name}"].append(value)
        if self.cache is not None:
            metrics["vision_cache_hits"].append(self.cache.hits / max(1, self.cache.hits + self.cache.misses))


def _nothing(batch: Any) -> dict[str, Any]:
    return {}


def _never_called(completions: Sequence[Any], **kwargs: Any) -> list[float]:
    """TRL wants a reward function; rewards are computed on trajectories instead."""
    raise AssertionError("TRL's own rollout path was taken")
