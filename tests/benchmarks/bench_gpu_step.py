"""A GRPO step of the project's trainer at the size of Qwen2.5-VL-3B, randomly initialised: speed, utilisation, memory.

8 recorded rollouts of 4 turns on random pages of 512 visual tokens, in bf16 autocast with gradient checkpointing and a
KL reference, as the profile trains; pages go through the image processor of Qwen2.5-VL, words are random ids, since
neither weights nor a tokenizer are downloaded. One step warms up, the next are timed (reference, forward, backward,
clipping, AdamW), one more is profiled. Without a GPU the same runs at toy size on the CPU and says so.

Model FLOPs of a step, in multiply-adds counted twice, recomputed forward passes left out:

    update     6·(P_layers·tokens + P_head·sampled + P_vision·patches + P_merger·image tokens)
               + 6·Σ_rows layers·T²·d (causal: half of all pairs) + 12·Σ_pictures Σ_layers patches·span·d_vision
    reference  a third of that: forward alone, where the update is forward and twice that backward

P are trained parameters but the embedding (a lookup), span the patches a vision layer attends to: its window's, or all.
Equal rows and pictures of a micro-batch count once, as they are computed once.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from transformers import Qwen2VLImageProcessorPil, TrainerCallback

from tests.benchmarks.memory import begin_peak, peak_mib
from tests.tiny_model import build_processor
from tests.visor_core.training.qwen import END, IMAGE, START, QwenEncoder, build_qwen
from visor_core.config import GRPOConfig, OptimizerConfig
from visor_core.policies.attention import use_short_rows
from visor_core.policies.base import ImageRef
from visor_core.policies.encoding import EncodedImage
from visor_core.training.batching import cut
from visor_core.training.credit import CreditRollout, CreditTurn
from visor_core.training.grpo import trl_arguments
from visor_core.training.rollouts import Collected, StepRollout, weigh
from visor_core.training.rows import TurnRow
from visor_core.training.turn_trainer import TurnGRPOTrainer

FULL: dict[str, Any] = {
    "width": 2048,
    "layers": 36,
    "heads": 16,
    "key_value_heads": 2,
    "intermediate": 11_008,
    "vocabulary": 151_936,
    "tied": True,
    "vision": 1280,
    "depth": 32,
    "vision_intermediate": 3420,
    "window": 112,
    "whole": (7, 15, 23, 31),
}
"""As the model card of Qwen2.5-VL-3B-Instruct has it."""
TOY: dict[str, Any] = {"vocabulary": 512}
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40": 181e12}
"""Dense bf16 peaks by device name; an unknown device gets no utilisation."""
ROLLOUTS, TURNS, PAGES = 8, 4, 6
TIMED = 3
WORDS = range(100, 500)


class PageEncoder(QwenEncoder):
    """Random pages through the model's own image processor."""

    def __init__(self) -> None:
        self.processor = Qwen2VLImageProcessorPil(
            patch_size=14, merge_size=2, temporal_patch_size=2, min_pixels=28 * 28
        )
        self.known: dict[ImageRef, EncodedImage] = {}

    def image(self, ref: ImageRef) -> EncodedImage:
        """Ids and patches of a page; kept, since the timed steps show the same pages."""
        if ref not in self.known:
            noise = np.random.default_rng(len(self.known)).integers(0, 256, (ref.height, ref.width, 3), dtype=np.uint8)
            made = self.processor(images=[Image.fromarray(noise)], return_tensors="pt")
            tokens = int(made["image_grid_thw"].prod()) // 4
            self.known[ref] = EncodedImage(ref, (START, *(IMAGE,) * tokens, END), dict(made))
        return self.known[ref]


class Recorded:
    """A collector that hands out the same rollouts every step."""

    def __init__(self, rollouts: Sequence[StepRollout]) -> None:
        self.rollouts = tuple(rollouts)
        self.source = self

    def refresh(self) -> None:
        """Nothing to copy."""

    def collect(self, step: int) -> Collected:
        """The rollouts; there are no episodes behind them."""
        return Collected((), self.rollouts)


class Clock(TrainerCallback):  # type: ignore[misc]
    """Seconds of every optimizer step, the optimizer included; the last one runs under the profiler."""

    def __init__(self, steps: int, device: torch.device) -> None:
        self.seconds: list[float] = []
        self.steps = steps
        self.device = device
        self.profiler = torch.profiler.profile()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock; forget the memory of the step that warmed up."""
        if state.global_step == 1:
            torch.cuda.reset_peak_memory_stats() if self.device.type == "cuda" else begin_peak()
        if state.global_step == self.steps - 1:
            self.profiler.start()
        self._wait()
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop it."""
        self._wait()
        self.seconds.append(time.perf_counter() - self.began)
        if state.global_step == self.steps:
            self.profiler.stop()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def rollouts(encoder: PageEncoder, side: tuple[int, int], text: int, reply: int) -> list[StepRollout]:
    """A group whose turns see up to two of six pages, with random rewards."""
    draw = random.Random(0)
    made = []
    for number in range(ROLLOUTS):
        rows = []
        for turn in range(TURNS):
            images = tuple(ImageRef(f"p{draw.randrange(PAGES)}", *side) for _ in range(min(turn, 2)))
            prompt = [1, *draw.choices(WORDS, k=text)]
            for ref in images:
                prompt += encoder.image(ref).ids
            ids = tuple(draw.choices(WORDS, k=reply))
            rows.append(TurnRow(number, "g", turn, tuple(prompt), ids, images, (), (True,) * reply))
        credit = CreditRollout("g", draw.random(), tuple(CreditTurn(reply) for _ in rows))
        made.append(StepRollout(tuple(rows), credit))
    return made


def flops(model: Any, recorded: Sequence[StepRollout], encoder: PageEncoder, config: GRPOConfig) -> float:
    """Model FLOPs of an update over rollouts, as the module's docstring counts them."""
    text, vision = model.config.text_config, model.config.vision_config
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    head = model.get_output_embeddings().weight.numel()
    merger = sum(size for name, size in sizes.items() if ".visual.merger" in name)
    tower = sum(size for name, size in sizes.items() if ".visual." in name) - merger
    layers = sum(size for name, size in sizes.items() if ".language_model.layers" in name)
    window = (vision.window_size // vision.patch_size) ** 2
    total = 0.0
    for batch in cut(weigh(recorded, config), config.micro_batch_tokens):
        for row in {w.row.content: w.row for w in batch}.values():
            total += 6 * (layers * row.length + head * len(row.completion_ids))
            total += 6 * text.num_hidden_layers * row.length**2 * text.hidden_size
        for ref in {ref for w in batch for ref in w.row.images}:
            patches = len(encoder.image(ref).tensors["pixel_values"])
            whole = len(vision.fullatt_block_indexes)
            spans = whole * patches + (vision.depth - whole) * min(window, patches)
            total += 6 * (tower * patches + merger * patches / 4) + 12 * patches * spans * vision.hidden_size
    return total


def build_trainer(model: Any, encoder: PageEncoder, config: GRPOConfig, output: Path, clock: Clock) -> TurnGRPOTrainer:
    """The project's trainer; the reference is read from a saved copy of the model, as in training."""
    args = trl_arguments(config, output, 0)
    args.save_strategy = "no"
    return TurnGRPOTrainer(
        model=model, args=args, processing_class=build_processor(), encoder=cast("Any", encoder), grpo=config,
        callbacks=[clock],
    )  # fmt: skip


def main(home: Path) -> dict[str, Any]:
    """Measure and print; there is no goal, the profile is kept."""
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    encoder = PageEncoder()
    # 448 × 896 pixels are 512 tokens of 28 × 28.
    side, text, reply, budget = ((448, 896), 400, 200, 8192) if gpu else ((56, 56), 20, 8, 256)
    recorded = rollouts(encoder, side, text, reply)
    made = [row for rollout in recorded for row in rollout.rows]
    config = GRPOConfig(
        steps=1 + TIMED + 1, group_size=ROLLOUTS, questions_per_step=1, beta=0.01, micro_batch_tokens=budget,
        max_completion_tokens=reply,
        optimizer=OptimizerConfig(learning_rate=1e-6, bf16=True, gradient_checkpointing=True),
    )  # fmt: skip
    clock = Clock(config.steps, device)
    with tempfile.TemporaryDirectory() as scratch:
        with device:
            model = build_qwen(**(FULL if gpu else TOY))
        model.save_pretrained(scratch)
        model.config._name_or_path = scratch
        use_short_rows(model)
        trainer = build_trainer(model, encoder, config, Path(scratch) / "out", clock)
        trainer.collector = cast("Any", Recorded(recorded))
        trainer.train()
    memory = torch.cuda.max_memory_allocated() / 2**30 if gpu else peak_mib() / 2**10
    seconds = sum(clock.seconds[1:-1]) / TIMED
    tokens = sum(row.length for row in made)
    # The update, and a third of it for the reference.
    work = flops(model, recorded, encoder, config) * 4 / 3
    name = torch.cuda.get_device_name() if gpu else "CPU, toy size"
    peak = next((value for key, value in PEAK_FLOPS.items() if key in name), None)
    folder = home / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    trace, profile = folder / "gpu_step_trace.json", folder / "gpu_step_profile.txt"
    clock.profiler.export_chrome_trace(str(trace))
    order = "self_cuda_time_total" if gpu else "self_cpu_time_total"
    profile.write_text(clock.profiler.key_averages().table(sort_by=order, row_limit=40), encoding="utf-8")
    console = Console()
    if not gpu:
        console.print("no GPU: measured at toy size on the CPU, which says nothing about a GPU")
    console.print(
        f"{name}: {tokens / seconds:,.0f} tokens/s, {work / seconds / 1e12:.3g} TFLOP/s, {memory:.1f} GiB; "
        f"{len(made)} rows, {tokens:,} tokens, {seconds:.2f} s a step"
    )
    return {
        "value": tokens / seconds,
        "unit": "tokens/s" if gpu else "tokens/s (toy, CPU)",
        "goal": None,
        "met": None,
        "device": name,
        "step_seconds": seconds,
        "model_flops": work,
        "model_flop_utilisation": work / seconds / peak if peak else None,
        "peak_memory_gib": memory,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trace": str(trace),
        "profile": str(profile),
    }
