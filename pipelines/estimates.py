"""What a run will cost before it starts: time, disk, tokens and GPU hours by stage, from recorded unit costs.

The unit costs are data with their sources (`unit_costs.yaml`); the arithmetic here is counts of the resolved profile
times those. Time on GPUs is given as GPU hours, time on the CPU as seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from assets_defs.launching import launch_of
from visor_core.config import Profile

UNIT_COSTS = Path(__file__).with_name("unit_costs.yaml")
DEFAULT_PAGES = 1000
_EVALUATIONS = 5
"""Untrained greedy, and SFT and GRPO greedy and sampled."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage: CPU seconds, GPU hours, tokens read or written by models, disk in GiB, and the counts behind them."""

    stage: str
    work: str
    seconds: float = 0.0
    gpu_hours: float = 0.0
    tokens: float = 0.0
    disk_gib: float = 0.0


def unit_costs() -> dict[str, Any]:
    """The recorded unit costs."""
    return dict(yaml.safe_load(UNIT_COSTS.read_text(encoding="utf-8")))


def estimate(profile: Profile, pages: int = 0) -> list[StageEstimate]:
    """Stage by stage; `pages` is the size of the user's corpus (1,000 when not known and no world is generated)."""
    costs = unit_costs()
    return _nano(profile, costs["nano"]) if profile.nano else _pretrained(profile, costs["pretrained"], pages)


def _nano(profile: Profile, cost: dict[str, Any]) -> list[StageEstimate]:
    world = profile.nano
    assert world is not None
    turns = cost["turns_per_episode"]
    trained_turns = cost["two_page_turns_per_episode"] if profile.grpo.min_hops > 1 else turns
    per_turn = cost["prompt_tokens_per_turn"] + cost["completion_tokens_per_turn"]
    pages = (world.train_corpora + world.development_corpora) * world.companies * (world.topics + 1)
    images = (world.vision_steps + world.alignment_steps) * world.batch_size
    trajectories = profile.teacher.trajectories
    sft_rows = (profile.sft.steps or 0) * profile.sft.batch_size or trajectories * turns * profile.sft.epochs
    episodes = profile.grpo.steps * profile.grpo.questions_per_step * profile.grpo.group_size
    evaluated = min(profile.evaluation.questions or world.development_questions, world.development_questions)
    checkpoints = profile.grpo.steps // profile.grpo.save_steps + 2
    return [
        StageEstimate(
            "nano_corpus, documents, pages",
            f"{pages:,} pages",
            pages / cost["render_pages_per_second"],
            disk_gib=pages * cost["stored_page_mib"] / 1024,
        ),
        StageEstimate("base_model", f"{images:,} images", images / cost["pretraining_images_per_second"]),
        StageEstimate(
            "retriever, page_index",
            f"{world.retriever_steps} steps, {pages:,} pages",
            world.retriever_steps * cost["retriever_seconds_per_step"] + pages / cost["index_pages_per_second"],
        ),
        StageEstimate(
            "teacher_trajectories",
            f"{trajectories:,} episodes",
            trajectories * turns / cost["teacher_turns_per_second"],
        ),
        StageEstimate(
            "sft_checkpoint",
            f"{sft_rows:,.0f} rows",
            sft_rows / cost["sft_rows_per_second"],
            tokens=sft_rows * per_turn,
            disk_gib=cost["checkpoint_gib"] * 2,
        ),
        StageEstimate(
            "grpo_checkpoint",
            f"{episodes:,} episodes",
            episodes * trained_turns * (1 / cost["rollout_turns_per_second"] + 1 / cost["update_rows_per_second"]),
            tokens=episodes * trained_turns * per_turn * 2,
            disk_gib=cost["checkpoint_gib"] * checkpoints,
        ),
        StageEstimate(
            "benchmark_results",
            f"{evaluated:,} questions, {_EVALUATIONS} times",
            _EVALUATIONS * evaluated * turns / cost["rollout_turns_per_second"],
            tokens=_EVALUATIONS * evaluated * turns * per_turn,
        ),
    ]


def _pretrained(profile: Profile, cost: dict[str, Any], pages: int) -> list[StageEstimate]:
    pages = pages or DEFAULT_PAGES
    turns = cost["turns_per_episode"]
    per_turn = cost["prompt_tokens_per_turn"] + cost["completion_tokens_per_turn"]
    parameters = float(cost["parameters"].get(profile.model.name, 7e9))
    flops_hour = cost["gpu_peak_flops"] * cost["training_utilisation"] * 3600
    # 6 FLOPs a parameter and token for forward and backward, 2 more when the forward pass is run again.
    training = (8 if profile.grpo.optimizer.gradient_checkpointing else 6) * parameters
    weights_gib = parameters * 2 / 2**30
    # A policy of half the size samples about twice as fast: decoding is bound by reading the weights.
    sampling_hour = cost["rollout_tokens_per_gpu_second"] * 3600 * 7e9 / parameters
    rows = profile.teacher.trajectories * turns * profile.sft.epochs
    episodes = profile.grpo.steps * profile.grpo.questions_per_step * profile.grpo.group_size
    questions = profile.evaluation.questions or 1000
    sampled = episodes * turns * cost["completion_tokens_per_turn"]
    read = episodes * turns * per_turn
    # The update runs the policy forward and backward and the reference forward: 2 FLOPs a parameter and token more.
    update = read * (training + 2 * parameters) / flops_hour
    return [
        StageEstimate(
            "documents, pages",
            f"{pages:,} pages",
            pages / cost["render_pages_per_second"],
            disk_gib=pages * cost["stored_page_mib"] / 1024,
        ),
        StageEstimate(
            "page_index",
            f"{pages:,} pages",
            gpu_hours=pages / cost["embed_pages_per_gpu_second"] / 3600,
            tokens=pages * 731,
        ),
        StageEstimate(
            "teacher_trajectories",
            f"{profile.teacher.trajectories:,} kept of twice as many",
            tokens=2 * profile.teacher.trajectories * turns * per_turn,
        ),
        StageEstimate(
            "sft_checkpoint",
            f"{rows:,.0f} rows",
            gpu_hours=rows * per_turn * training / flops_hour,
            tokens=rows * per_turn,
            disk_gib=weights_gib * 2,
        ),
        StageEstimate(
            "grpo_checkpoint",
            f"{episodes:,} episodes",
            gpu_hours=sampled / sampling_hour + read * 2 * parameters / flops_hour + update,
            tokens=2 * read,
            disk_gib=weights_gib * (profile.grpo.steps // profile.grpo.save_steps + 1),
        ),
        StageEstimate(
            "benchmark_results",
            f"{questions:,} questions",
            gpu_hours=questions * turns * cost["completion_tokens_per_turn"] / sampling_hour
            + questions * turns * per_turn * 2 * parameters / flops_hour,
            tokens=questions * turns * per_turn,
        ),
    ]


def training_memory_gib(profile: Profile) -> float:
    """Memory of each GPU that training all parameters needs for weights, gradients, optimizer and reference; GiB."""
    cost = unit_costs()["pretrained"]
    parameters = float(cost["parameters"].get(profile.model.name, 0.0))
    return parameters * cost["memory_bytes_per_parameter"] / 2**30 / launch_of(profile).shards
