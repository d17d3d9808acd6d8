"""Probes that show the nano world is what it claims to be: what a model reads in an overview and in a tight crop.

An exact reading means that every token of the reply is the most probable one given those before it, which is the same
as a right greedy reply. The overview probe asks about panels that are illegible there, of the very same model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from visor_core.geometry import FULL_PAGE
from visor_core.nano.pretraining import lesson_row
from visor_core.nano.views import Lesson, lesson_of, lessons, load_picture, page_renderer, view_of
from visor_core.nano.world import World
from visor_core.policies.encoding import Encoder
from visor_core.policies.transformers import load_checkpoint
from visor_core.training.batching import collate
from visor_core.training.forward import add_row_head, prepare

_BATCH = 64


@dataclass(frozen=True, slots=True)
class ReadingProbe:
    """Shares of exact replies, by kind; `overview` is the reading of numbers that only a crop makes legible."""

    overview: float
    crop: float
    title: float
    legible: float
    locate: float


def probe_reading(checkpoint: Path, world: World, *, number: int = 256, seed: int = 0) -> ReadingProbe:
    """Ask a model about pages of `world` (never those it was trained on), `number` questions a kind.

    Raises:
        PolicyError: if the folder is no usable checkpoint.
    """
    model, processor = load_checkpoint(checkpoint)
    add_row_head(model, temperature=1.0, forbidden=())
    encoder = Encoder(processor, partial(load_picture, page_renderer(world)))  # type: ignore[arg-type]
    by_kind: dict[str, list[Lesson]] = {"overview": _illegible(world)}
    for page in world.pages:
        targets = {panel.target for panel in page.panels} | {FULL_PAGE}
        for box in sorted(targets, key=lambda b: b.as_tuple()):
            for lesson in lessons(view_of(page, box)):
                by_kind.setdefault(lesson.kind, []).append(lesson)
    shares = {}
    for kind, found in sorted(by_kind.items()):
        sample = random.Random(f"probe/{seed}/{kind}").sample(found, min(number, len(found)))
        shares[kind] = exact_share(model, encoder, sample)
    return ReadingProbe(
        overview=shares.get("overview", 0.0),
        crop=shares.get("reading", 0.0),
        title=shares.get("title", 0.0),
        legible=shares.get("legible", 0.0),
        locate=shares.get("locate", 0.0),
    )


def exact_share(model: Any, encoder: Encoder, asked: Sequence[Lesson]) -> float:
    """Share of lessons a model with a row head answers token for token."""
    right = 0
    for start in range(0, len(asked), _BATCH):
        batch = collate([lesson_row(lesson, encoder) for lesson in asked[start : start + _BATCH]], encoder)
        with torch.no_grad():
            _, _, hits = model(row_batch=prepare(model, encoder, batch))
        sampled = torch.zeros(hits.numel())
        sampled[batch.slots] = 1.0
        missed = (1.0 - hits.float()) * sampled.view_as(hits)
        right += int((missed.sum(dim=1) == 0).sum())
    return right / max(1, len(asked))


def _illegible(world: World) -> list[Lesson]:
    """Readings asked of an overview although only a crop makes them legible."""
    return [
        lesson_of(view_of(page), "page", f"read {panel.label}", f"{panel.label} {panel.value}", "legible")
        for page in world.pages
        if not page.legible
        for panel in page.panels
    ]
