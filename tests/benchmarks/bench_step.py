"""Optimizer step on turn rows of 64 nano rollouts: real (non-pad) tokens a second against TRL's stock padding.

Stock: TRL's layout (prompts left-padded and replies right-padded to the longest of the whole generation batch, each
picture once a row, all positions projected off Triton), fixed micro-batches at the size that is best for it. Both sides
run TRL's `_compute_loss` and backward on the same rows and weights, alternately, in this process; the better of
several repetitions counts. Peak memory is measured in a process of its own each. Logits are compared without forbidden
tokens, which stock TRL does not have. Tokens are those of all rows, whether or not equal rows are scored once.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table

from tests.benchmarks.memory import begin_peak, peak_mib
from tests.benchmarks.nano_replay import trained_checkpoints
from tests.benchmarks.nano_rows import NanoSetting, build, rows_for
from visor_core.config import GRPOConfig
from visor_core.policies import attention
from visor_core.policies.encoding import Encoder
from visor_core.policies.transformers import load_checkpoint
from visor_core.policies.vision import VisionCache
from visor_core.training import batching, forward
from visor_core.training.batching import WeightedRow, plan
from visor_core.training.forward import add_row_head, freeze_vision
from visor_core.training.grpo import trl_arguments
from visor_core.training.loop import load_for_training
from visor_core.training.rows import TurnRow
from visor_core.training.trl_grpo import GRPOTrainer
from visor_core.training.turn_trainer import TurnGRPOTrainer

GOALS = {"trained": 1.6, "frozen": 2.5}
STOCK_SIZES = (8, 16, 32)
BUDGETS = (1024, 2048)
REPEATS = 2


def ours(setting: NanoSetting, output: Path, budget: int, *, freeze: bool) -> TurnGRPOTrainer:
    """The project's trainer with its row head free of forbidden tokens."""
    config = GRPOConfig(steps=2, beta=0.0, micro_batch_tokens=budget, freeze_vision=freeze)
    model, processor = load_for_training(setting.checkpoint, freeze=freeze)
    trainer = TurnGRPOTrainer(
        model=model,
        args=trl_arguments(config, output, 0),
        processing_class=processor,
        encoder=Encoder(processor, setting.index),
        grpo=config,
        cache=VisionCache() if freeze else None,
    )
    add_row_head(trainer.model, temperature=1.0, forbidden=())
    return trainer


def stock(setting: NanoSetting, output: Path, *, freeze: bool) -> GRPOTrainer:
    """TRL's trainer as it is, on a model as transformers loads it."""
    model, processor = load_checkpoint(setting.checkpoint)
    if freeze:
        freeze_vision(model)
    trainer = GRPOTrainer(
        model=model.train(),
        args=trl_arguments(GRPOConfig(steps=2, beta=0.0), output, 0),
        processing_class=processor,
        reward_funcs=[_unused],
        train_dataset=Dataset.from_dict({"prompt": ["", ""]}),
    )
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def _unused(completions: Any, **kwargs: Any) -> list[float]:
    raise AssertionError("no rollout is made here")


def stock_inputs(rows: Sequence[WeightedRow], encoder: Encoder) -> dict[str, Any]:
    """TRL's generation batch: everything padded to the longest row, pictures once an occurrence."""
    width = max(len(w.row.prompt_ids) for w in rows)
    reply = max(len(w.row.completion_ids) for w in rows)
    pictures = max(len(w.row.images) for w in rows)
    side = 128
    batch: dict[str, Any] = {
        "prompt_ids": torch.full((len(rows), width), encoder.pad_token_id),
        "prompt_mask": torch.zeros((len(rows), width), dtype=torch.long),
        "completion_ids": torch.full((len(rows), reply), encoder.pad_token_id),
        "completion_mask": torch.zeros((len(rows), reply), dtype=torch.long),
        "tool_mask": torch.zeros((len(rows), reply)),
        "advantages": torch.zeros((len(rows), reply)),
        "pixel_values": torch.zeros((len(rows), pictures, 3, side, side)),
        "num_items_in_batch": torch.tensor(float(sum(len(w.weights) for w in rows))),
    }
    for i, w in enumerate(rows):
        p, c = len(w.row.prompt_ids), len(w.row.completion_ids)
        batch["prompt_ids"][i, width - p :] = torch.tensor(w.row.prompt_ids)
        batch["prompt_mask"][i, width - p :] = 1
        batch["completion_ids"][i, :c] = torch.tensor(w.row.completion_ids)
        batch["completion_mask"][i, :c] = 1
        batch["tool_mask"][i, :c] = torch.tensor(w.weights)
        batch["advantages"][i, :c] = torch.tensor(w.advantages)
        for k, ref in enumerate(w.row.images):
            batch["pixel_values"][i, k] = encoder.image(ref).tensors["pixel_values"][0]
    return batch


def stock_step(trainer: GRPOTrainer, batch: dict[str, Any], size: int, images: Sequence[int]) -> None:
    """All micro-batches of `size` rows, forward and backward."""
    count = len(batch["prompt_ids"])
    for start in range(0, count, size):
        part = {k: v[start : start + size] if k != "num_items_in_batch" else v for k, v in batch.items()}
        part["num_images"] = list(images[start : start + size])
        if not sum(part["num_images"]):
            del part["pixel_values"], part["num_images"]
        trainer._compute_loss(trainer.model, part).backward()


def fastest(runs: dict[Any, Callable[[], None]], models: dict[Any, Any]) -> dict[Any, float]:
    """Seconds of the fastest repetition of each, taken in turn."""
    best = dict.fromkeys(runs, float("inf"))
    for repetition in range(REPEATS + 1):
        for key, run in runs.items():
            models[key].zero_grad(set_to_none=True)
            began = time.perf_counter()
            run()
            if repetition:
                best[key] = min(best[key], time.perf_counter() - began)
    return best


def gradient_differences(left: Any, right: Any) -> tuple[float, float]:
    """Distance of two models' gradients relative to their norm: of the whole, and of the worst single parameter.

    A gradient that is zero but for rounding, as a key bias's under softmax, is held against a thousandth of the whole.
    """
    ours, theirs = ({n: p.grad for n, p in m.named_parameters() if p.grad is not None} for m in (left, right))
    if ours.keys() != theirs.keys():
        raise ValueError(f"not the same parameters have gradients: {sorted(ours.keys() ^ theirs.keys())}")
    apart = {n: float((ours[n] - grad).norm()) for n, grad in theirs.items()}
    norms = {n: float(grad.norm()) for n, grad in theirs.items()}
    whole = math.hypot(*norms.values())
    return math.hypot(*apart.values()) / whole, max(apart[n] / max(1e-3 * whole, norms[n]) for n in norms)


def all_positions(weighted: WeightedRow) -> WeightedRow:
    """The same row with every position projected: the prompt counts as reply that weighs nothing."""
    row = weighted.row
    extra = len(row.prompt_ids) - 1
    reply = (*row.prompt_ids[1:], *row.completion_ids)
    wide = replace(row, prompt_ids=row.prompt_ids[:1], completion_ids=reply, mask=(False,) * extra + row.mask)
    zeros = (0.0,) * extra
    return WeightedRow(wide, zeros + weighted.advantages, zeros + weighted.weights)


@contextmanager
def rows_apart() -> Iterator[None]:
    """Every row is scored for itself, whatever it says."""
    kept = TurnRow.content
    TurnRow.content = property(lambda row: row)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        TurnRow.content = kept  # type: ignore[method-assign]


@contextmanager
def images_unchecked() -> Iterator[None]:
    """Rows of `all_positions` have their picture tokens where no policy may sample them."""
    kept = batching.check_images
    batching.check_images = lambda row, images, image_token_id: None
    try:
        yield
    finally:
        batching.check_images = kept


def compare(setting: NanoSetting, output: Path, *, freeze: bool) -> dict[str, Any]:
    """Both sides at their sizes, what each optimisation gives, and the gradients' difference."""
    trainer = ours(setting, output, BUDGETS[0], freeze=freeze)
    baseline = stock(setting, output, freeze=freeze)
    rows = rows_for(trainer.encoder, setting.rollouts())
    random.Random(0).shuffle(rows)
    batch = stock_inputs(rows, trainer.encoder)
    images = [len(w.row.images) for w in rows]
    tokens = sum(w.row.length for w in rows)

    everywhere = [all_positions(w) for w in rows]

    def step(
        budget: int,
        *,
        sort: bool = True,
        deduplicate: bool = True,
        cached: bool = True,
        chosen: bool = True,
        short: bool = True,
        together: bool = True,
    ) -> Callable[[], None]:
        def run() -> None:
            trainer.grpo = trainer.grpo.model_copy(update={"micro_batch_tokens": budget})
            trainer.sort_rows, trainer.deduplicate_images = sort, deduplicate
            kept, trainer.cache = trainer.cache, trainer.cache if cached else None
            trainer.model.set_attn_implementation(attention.NAME if short else "sdpa")
            with nullcontext() if chosen else images_unchecked(), nullcontext() if together else rows_apart():
                trainer.update(trainer.model, rows if chosen else everywhere)
            trainer.cache = kept

        return run

    runs: dict[Any, Callable[[], None]] = {("ours", b): step(b) for b in BUDGETS}
    runs |= {("stock", s): lambda s=s: stock_step(baseline, batch, s, images) for s in STOCK_SIZES}
    models = {key: trainer.model if key[0] == "ours" else baseline.model for key in runs}
    seconds = fastest(runs, models)
    budget = min(BUDGETS, key=lambda b: seconds["ours", b])
    size = min(STOCK_SIZES, key=lambda s: seconds["stock", s])
    variants = {
        "all": step(budget),
        "without sorting": step(budget, sort=False),
        "without scoring equal rows once": step(budget, together=False),
        "without encoding equal pictures once": step(budget, deduplicate=False, cached=False),
        "without choosing positions": step(budget, chosen=False),
        "without short-row attention": step(budget, short=False),
    }
    if freeze:
        variants["without cache"] = step(budget, cached=False)
    parts = fastest(variants, dict.fromkeys(variants, trainer.model))
    for side, run in ((trainer, runs["ours", budget]), (baseline, runs["stock", size])):
        side.model.zero_grad(set_to_none=True)
        run()
    whole, worst = gradient_differences(trainer.model, baseline.model)
    scored = [
        [{rows[i].row.content: rows[i].row.length for i in part} for part in b]
        for b in plan([w.row for w in rows], budget)
    ]
    lengths = [list(part.values()) for (part,) in scored]
    once = sum(map(sum, lengths))
    real = {key: tokens / s for key, s in seconds.items()}
    return {
        "rows": len(rows),
        "tokens": tokens,
        "tokens_a_second": {f"{name} {n}": round(v) for (name, n), v in real.items()},
        "ratio": real["ours", budget] / real["stock", size],
        "budget": budget,
        "stock_size": size,
        "scored_once": once / tokens,
        "padding": 1 - once / sum(len(part) * max(part) for part in lengths),
        "stock_padding": 1 - tokens / (len(rows) * (batch["prompt_ids"].shape[1] + batch["completion_ids"].shape[1])),
        "gain": {name: parts[name] / parts["all"] for name in parts if name != "all"},
        "gradient_difference": whole,
        "gradient_difference_of_worst_parameter": worst,
    }


def projection(width: int, vocabulary: int, positions: int, replies: int) -> float:
    """How many times longer it takes to project all positions than only those that predict replies."""
    head = torch.nn.Linear(width, vocabulary, bias=False)

    def run(count: int) -> float:
        states = torch.randn(count, width, requires_grad=True)
        targets = torch.zeros(count, dtype=torch.long)
        best = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            torch.nn.functional.cross_entropy(head(states), targets).backward()
            best = min(best, time.perf_counter() - began)
        return best

    return run(positions) / run(replies)


def peak_memory(setting: NanoSetting, folder: Path, side: str, size: int, freeze: bool) -> float:
    """Peak resident memory of one step in a process of its own, MiB."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_step", str(folder), side, str(size), str(int(freeze))]
    command += [str(setting.warm_start)] if setting.warm_start else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def one_step(folder: Path, side: str, size: int, freeze: bool, warm_start: Path | None) -> float:
    """What `peak_memory` runs: one step; its peak over what was resident before, MiB."""
    setting = build(folder, warm_start=warm_start)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = ours(setting, Path(scratch), size if side == "ours" else BUDGETS[0], freeze=freeze)
        rows = rows_for(trainer.encoder, setting.rollouts())
        random.Random(0).shuffle(rows)
        baseline = stock(setting, Path(scratch), freeze=freeze)
        begin_peak()
        before = peak_mib()
        if side == "ours":
            trainer.update(trainer.model, rows)
        else:
            stock_step(baseline, stock_inputs(rows, trainer.encoder), size, [len(w.row.images) for w in rows])
        return peak_mib() - before


def main(home: Path) -> dict[str, Any]:
    """Measure and print; goals are 1.6 × (vision trained) and 2.5 × (vision frozen and cached)."""
    folder = home / "bench" / "nano-setting"
    folder.mkdir(parents=True, exist_ok=True)
    setting = build(folder, warm_start=next(iter(trained_checkpoints(home, "sft_checkpoint")), None))
    results: list[dict[str, Any]] = []
    console = Console()
    for name, goal in GOALS.items():
        freeze = name == "frozen"
        with tempfile.TemporaryDirectory() as scratch:
            found = compare(setting, Path(scratch), freeze=freeze)
        memory = {
            side: peak_memory(setting, folder, side, found["budget"] if side == "ours" else found["stock_size"], freeze)
            for side in ("ours", "stock")
        }
        title = f"vision {name}: {found['rows']} rows of the {setting.played_by}"
        table = Table(title=f"{title}, {found['tokens']} real tokens", title_justify="left")
        for column in ("setting", "real tokens/s"):
            table.add_column(column)
        for key, value in found["tokens_a_second"].items():
            table.add_row(key, str(value))
        console.print(table)
        console.print(
            f"ratio {found['ratio']:.2f} (goal {goal}); {found['scored_once']:.1%} of the tokens scored; "
            f"padding {found['padding']:.1%} against "
            f"{found['stock_padding']:.1%}; gradients differ by {found['gradient_difference']:.1e} (of the worst "
            f"parameter {found['gradient_difference_of_worst_parameter']:.1e}); step memory "
            f"{memory['ours']:.0f} against {memory['stock']:.0f} MiB; gains "
            + ", ".join(f"{k.removeprefix('without ')} {v:.2f}×" for k, v in found["gain"].items())
        )
        results.append(
            {
                "name": f"step/{name}",
                "value": found["ratio"],
                "unit": "× stock tokens/s",
                "goal": goal,
                "met": found["ratio"] >= goal
                and found["gradient_difference"] <= 1e-5
                and memory["ours"] <= memory["stock"],
                "memory_mib": memory,
                **found,
            }
        )
    results.append(
        {
            "name": "step/padding",
            "value": max(r["padding"] for r in results),
            "unit": "share of tokens",
            "goal": 0.1,
            "met": max(r["padding"] for r in results) <= 0.1,
        }
    )
    shares = {"nano": projection(160, 512, 2048, 256), "151k vocabulary": projection(512, 151_936, 512, 64)}
    console.print(f"projecting all positions against replies only: {shares}")
    raw = {"projection": shares, "chunk_elements": forward.CHUNK_ELEMENTS, "played_by": setting.played_by}
    return {"results": results, **raw}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("side")
    parser.add_argument("size", type=int)
    parser.add_argument("freeze", type=int)
    parser.add_argument("warm_start", type=Path, nargs="?")
    given = parser.parse_args()
    print(json.dumps(one_step(given.folder, given.side, given.size, bool(given.freeze), given.warm_start)))
