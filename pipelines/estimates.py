"""What a run will cost before it starts: time, disk, tokens and GPU hours by stage, from recorded unit costs.

The unit costs are data with their sources (`unit_costs.yaml`); the arithmetic here is counts of the resolved profile
times those, and each figure carries its own (`Figure.text`), which `--dry-run` prints. Time on GPUs is given as GPU
hours, time on the CPU as seconds, disk in GiB as it is written (sizes.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.figures import NOTHING, Figure, number
from pipelines.sizes import (
    GIB,
    Shape,
    bytes_of,
    checkpoint_disk,
    engine_memory,
    least_gpu,
    saved_checkpoints,
    shape_of,
    training_memory,
)
from visor_core.agent.bounds import engine_limits
from visor_core.config import Profile, embedder_parts

UNIT_COSTS = Path(__file__).with_name("unit_costs.yaml")
DEFAULT_PAGES = 1000
_EVALUATIONS = 5
"""Untrained greedy, and SFT and GRPO greedy and sampled."""
_MIB = Figure(2.0**20, "2²⁰ bytes")
_HOUR = number(3600, "s an hour")


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage: CPU seconds, GPU hours, tokens read or written by models, disk in GiB, and the counts behind them."""

    stage: str
    work: str
    seconds: Figure = NOTHING
    gpu_hours: Figure = NOTHING
    tokens: Figure = NOTHING
    disk_gib: Figure = NOTHING


def unit_costs() -> dict[str, Any]:
    """The recorded unit costs."""
    return dict(yaml.safe_load(UNIT_COSTS.read_text(encoding="utf-8")))


def estimate(profile: Profile, pages: int = 0) -> list[StageEstimate]:
    """Stage by stage; `pages` is the size of the user's corpus (1,000 when not known and no world is generated)."""
    costs = unit_costs()
    return _nano(profile, costs["nano"]) if profile.nano else _pretrained(profile, costs["pretrained"], pages)


def gpu_hours(profile: Profile) -> dict[str, float]:
    """GPU hours by asset, for those that take any."""
    found = {name.strip(): s.gpu_hours.value for s in estimate(profile) for name in s.stage.split(",")}
    return {name: hours for name, hours in found.items() if hours}


def shape(profile: Profile) -> Shape:
    """The shape of the model a profile trains."""
    costs = unit_costs()
    if profile.nano:
        return Shape("nano", **costs["nano"]["shape"])
    return shape_of(profile.model.name, costs["pretrained"]["models"])


def sft_steps(profile: Profile, rows: float) -> int:
    """Optimizer steps of SFT over so many rows an epoch."""
    return profile.sft.steps or math.ceil(profile.sft.epochs * rows / profile.sft.batch_size)


def _nano(profile: Profile, cost: Mapping[str, Any]) -> list[StageEstimate]:
    world = profile.nano
    assert world is not None
    turns = number(cost["turns_per_episode"], "turns")
    trained_turns = number(cost["two_page_turns_per_episode"], "turns") if profile.grpo.min_hops > 1 else turns
    per_turn = number(cost["prompt_tokens_per_turn"] + cost["completion_tokens_per_turn"], "tokens")
    corpora = world.train_corpora + world.development_corpora
    pages = number(corpora * world.companies * (world.topics + 1), "pages")
    images = number((world.vision_steps + world.alignment_steps) * world.batch_size, "images")
    trajectories = number(profile.teacher.trajectories, "episodes")
    steps = sft_steps(profile, profile.teacher.trajectories * cost["turns_per_episode"])
    sft_rows = number(steps * profile.sft.batch_size, "rows")
    episodes = number(profile.grpo.steps * profile.grpo.questions_per_step * profile.grpo.group_size, "episodes")
    questions = min(profile.evaluation.questions or world.development_questions, world.development_questions)
    evaluated = number(_EVALUATIONS, "times") * number(questions, "questions") * turns
    rest = number(cost["folder_mib"], "MiB of other files") * _MIB
    sft_disk, grpo_disk = (
        checkpoint_disk(shape(profile), count, config, rest, 4) / GIB
        for count, config in ((steps, profile.sft), (profile.grpo.steps, profile.grpo))
    )
    played = episodes * trained_turns
    sampling = number(cost["rollout_turns_per_second"], "turns a second")
    return [
        StageEstimate(
            "nano_corpus, documents, pages",
            pages.text,
            pages / number(cost["render_pages_per_second"], "a second"),
            disk_gib=pages * number(cost["stored_page_mib"], "MiB") / number(1024, "MiB a GiB"),
        ),
        StageEstimate("base_model", images.text, images / number(cost["pretraining_images_per_second"], "a second")),
        StageEstimate(
            "retriever, page_index",
            f"{world.retriever_steps} steps, {pages.text}",
            number(world.retriever_steps, "steps") * number(cost["retriever_seconds_per_step"], "s")
            + pages / number(cost["index_pages_per_second"], "a second"),
        ),
        StageEstimate(
            "teacher_trajectories",
            trajectories.text,
            trajectories * turns / number(cost["teacher_turns_per_second"], "turns a second"),
        ),
        StageEstimate(
            "sft_checkpoint",
            sft_rows.text,
            sft_rows / number(cost["sft_rows_per_second"], "a second"),
            tokens=sft_rows * per_turn,
            disk_gib=sft_disk,
        ),
        StageEstimate(
            "grpo_checkpoint",
            episodes.text,
            played / sampling + played / number(cost["update_rows_per_second"], "rows a second"),
            tokens=played * per_turn * number(2, "passes"),
            disk_gib=grpo_disk,
        ),
        StageEstimate(
            "benchmark_results",
            f"{questions:,} questions, {_EVALUATIONS} times",
            evaluated / sampling,
            tokens=evaluated * per_turn,
        ),
    ]


def _pretrained(profile: Profile, cost: Mapping[str, Any], pages: int) -> list[StageEstimate]:
    model = shape(profile)
    corpus = number(pages or DEFAULT_PAGES, "pages")
    turns = number(cost["turns_per_episode"], "turns")
    written = number(cost["completion_tokens_per_turn"], "tokens written")
    per_turn = number(cost["prompt_tokens_per_turn"] + cost["completion_tokens_per_turn"], "tokens")
    parameters = number(model.parameters, "weights")
    speed = number(cost["gpu_peak_flops"], "FLOPS") * number(cost["training_utilisation"], "used") * _HOUR
    # 6 FLOPs a parameter and token for forward and backward, 2 more when the forward pass is run again.
    passes = number(8 if profile.grpo.optimizer.gradient_checkpointing else 6, "FLOPs")
    # A policy of half the size samples about twice as fast: decoding is bound by reading the weights.
    sampling = number(cost["rollout_tokens_per_gpu_second"], "tokens a second") * _HOUR * number(7e9) / parameters
    reading = number(2, "FLOPs") * parameters
    steps = sft_steps(profile, profile.teacher.trajectories * cost["turns_per_episode"])
    rows = number(steps * profile.sft.batch_size, "rows")
    episodes = number(profile.grpo.steps * profile.grpo.questions_per_step * profile.grpo.group_size, "episodes")
    questions = number(profile.evaluation.questions or 1000, "questions")
    played = episodes * turns
    rest = number(cost["folder_mib"], "MiB of other files") * _MIB
    size = bytes_of(profile.model.dtype)
    handed = parameters * number(4, "bytes for the engine") if profile.model.engine == "vllm" else NOTHING
    # The update runs the policy forward and backward and the reference forward: 2 FLOPs a parameter and token more.
    update = played * per_turn * (passes + number(2, "FLOPs")) * parameters / speed
    return [
        StageEstimate(
            "documents, pages",
            corpus.text,
            corpus / number(cost["render_pages_per_second"], "a second"),
            disk_gib=corpus * number(cost["stored_page_mib"], "MiB") / number(1024, "MiB a GiB"),
        ),
        StageEstimate(
            "page_index",
            corpus.text,
            gpu_hours=corpus / number(cost["embed_pages_per_gpu_second"], "a second") / _HOUR,
            tokens=corpus * number(cost["vectors_per_page"], "tokens"),
        ),
        StageEstimate(
            "teacher_trajectories",
            f"{profile.teacher.trajectories:,} kept of twice as many",
            tokens=number(2 * profile.teacher.trajectories, "episodes") * turns * per_turn,
        ),
        StageEstimate(
            "sft_checkpoint",
            f"{rows.text}, {saved_checkpoints(steps, profile.sft)} checkpoints kept",
            gpu_hours=rows * per_turn * passes * parameters / speed,
            tokens=rows * per_turn,
            disk_gib=checkpoint_disk(model, steps, profile.sft, rest, size) / GIB,
        ),
        StageEstimate(
            "grpo_checkpoint",
            f"{episodes.text}, {saved_checkpoints(profile.grpo.steps, profile.grpo)} checkpoints kept",
            gpu_hours=played * written / sampling + played * per_turn * reading / speed + update,
            tokens=number(2, "passes") * played * per_turn,
            disk_gib=(checkpoint_disk(model, profile.grpo.steps, profile.grpo, rest, size) + handed) / GIB,
        ),
        StageEstimate(
            "benchmark_results",
            questions.text,
            gpu_hours=questions * turns * written / sampling + questions * turns * per_turn * reading / speed,
            tokens=questions * turns * per_turn,
        ),
    ]


def memory_gib(profile: Profile) -> dict[str, Figure]:
    """Memory that GRPO needs on each GPU by what it is for, and `in all` with the engine's share; GiB."""
    cost = unit_costs()["pretrained"]
    model = shape(profile)
    parts = {name: value / GIB for name, value in training_memory(profile, model).items()}
    embedder = _embedder(profile, cost["embedder_weights"])
    if embedder:
        parts["embedder"] = embedder / GIB
    context = engine_limits(profile.agent, profile.model.vllm, episodes=1).max_model_len
    return parts | least_gpu(profile, parts, engine_memory(profile, model, context) / GIB)


def least_gpu_gib(profile: Profile) -> float:
    """What a GPU must have for a profile: the larger of what training and what the engine asks for; GiB."""
    parts = memory_gib(profile)
    return max(parts[name].value for name in ("training in all", "engine") if name in parts)


def _embedder(profile: Profile, weights: Mapping[str, float]) -> Figure:
    """Bytes of the embedders that searches run on the GPU."""
    if profile.index.device == "cpu":
        return NOTHING
    kinds = [embedder_parts(spec)[0] for spec in profile.index.embedders]
    sizes = [number(weights[kind], "weights") * number(2, "bytes") for kind in kinds if kind in weights]
    return sum(sizes, NOTHING)
