"""Update of a GRPO step at the size of Qwen2.5-VL-3B, randomly initialised: tokens a second, FLOP utilisation, memory.

8 rollouts of 4 turns, 512 visual tokens a picture, bf16 and gradient checkpointing; forward, backward and AdamW on one
GPU. Without a GPU the same code runs at toy size on the CPU and says so. Pictures are random patches and token ids
random words, since neither weights nor a processor are downloaded.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from tests.visor_core.training.qwen import QwenEncoder, build_qwen
from visor_core.policies.base import ImageRef
from visor_core.training.batching import collate, plan
from visor_core.training.forward import add_row_head, prepare
from visor_core.training.rows import TurnRow

FULL = {
    "width": 2048,
    "layers": 36,
    "heads": 16,
    "key_value_heads": 2,
    "intermediate": 11_008,
    "vocabulary": 151_936,
    "vision": 1280,
    "depth": 32,
}
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40": 181e12}
"""Dense bf16 peaks by device name; an unknown device gets no utilisation."""
ROLLOUTS, TURNS = 8, 4


def rows(encoder: QwenEncoder, side: tuple[int, int], text: int, reply: int) -> list[TurnRow]:
    """Turn rows with up to two pictures; the rollouts look at the same six pages."""
    draw = random.Random(0)
    made = []
    for rollout in range(ROLLOUTS):
        for turn in range(TURNS):
            images = tuple(ImageRef(f"p{draw.randint(0, 5)}", *side) for _ in range(min(turn, 2)))
            prompt = [1, *(draw.randint(3, 89) for _ in range(text))]
            for ref in images:
                prompt += encoder.image(ref).ids
            ids = tuple(draw.randint(3, 89) for _ in range(reply))
            made.append(TurnRow(rollout, "g", turn, tuple(prompt), ids, images, (), (True,) * reply))
    return made


def update(model: Any, optimizer: Any, encoder: Any, made: list[TurnRow], budget: int, device: str) -> None:
    """Forward and backward of all micro-batches, then one optimizer step."""
    for (part,) in plan(made, budget):
        batch = collate([made[i] for i in part], encoder)
        with torch.autocast(device, dtype=torch.bfloat16):
            log_probs, _, _ = model(row_batch=prepare(model, encoder, batch))
        (-log_probs.sum() / len(made)).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def main(home: Path) -> dict[str, Any]:
    """Measure and print; there is no goal, the profile is kept."""
    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    encoder = QwenEncoder()
    # 448 × 896 pixels are 512 tokens of 28 × 28.
    side, text, reply, budget = ((448, 896), 400, 200, 8192) if gpu else ((56, 56), 20, 8, 256)
    with torch.device(device):
        model = build_qwen(**FULL) if gpu else build_qwen()
    model = model.to(torch.bfloat16 if gpu else torch.float32).train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    add_row_head(model, temperature=1.0, forbidden=())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    made = rows(encoder, side, text, reply)
    tokens = sum(row.length for row in made)
    update(model, optimizer, encoder, made, budget, device)
    if gpu:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    began = time.perf_counter()
    update(model, optimizer, encoder, made, budget, device)
    if gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    text_parameters = sum(p.numel() for n, p in model.named_parameters() if "visual" not in n and "embed" not in n)
    # 6 FLOPs a parameter and token, 8 with the recomputed forward pass; attention and vision tower are left out.
    flops = 8 * text_parameters * tokens / seconds
    name = torch.cuda.get_device_name() if gpu else "CPU, toy size"
    peak = next((value for key, value in PEAK_FLOPS.items() if key in name), None)
    memory = torch.cuda.max_memory_allocated() / 2**30 if gpu else None
    profile = home / "bench" / "gpu_step_profile.txt"
    with torch.profiler.profile() as recorded:
        update(model, optimizer, encoder, made[:8], budget, device)
    profile.parent.mkdir(parents=True, exist_ok=True)
    order = "self_cuda_time_total" if gpu else "self_cpu_time_total"
    profile.write_text(recorded.key_averages().table(sort_by=order, row_limit=40), encoding="utf-8")
    console = Console()
    if not gpu:
        console.print("no GPU: measured at toy size on the CPU, which says nothing about a GPU")
    console.print(f"{name}: {tokens / seconds:,.0f} tokens/s, {len(made)} rows, {tokens} tokens, {seconds:.2f} s")
    return {
        "value": tokens / seconds,
        "unit": "tokens/s" if gpu else "tokens/s (toy, CPU)",
        "goal": None,
        "met": None,
        "device": name,
        "seconds": seconds,
        "model_flop_utilisation": flops / peak if peak else None,
        "peak_memory_gib": memory,
        "parameters": sum(p.numel() for p in model.parameters()),
        "profile": str(profile),
    }
