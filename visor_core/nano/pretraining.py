"""Perception for the embedded default's base model, in two stages, on the pages of training split and primer.

1. *Vision*: vision tower and projector learn to spell, in every image token, the words it covers, against the language
   model's own embedding; a language-model loss alone does not get a fresh tower to read.
2. *Alignment*: projector, language model and tower learn to answer short questions about a picture (title, reading,
   locating a label) in the chat format of the agent, and the last step of an episode (`nano.closings`).

Both run on the run-time renderer and processor. Seeded; continues after a kill from the last saved state. Where
`torch.distributed` is set up, each process takes a share of every batch and gradients are added up.
"""

from __future__ import annotations

import json
import math
import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from visor_core.config import NanoConfig
from visor_core.files import whole_file
from visor_core.geometry import FULL_PAGE
from visor_core.nano.closings import arithmetic_lesson, closing_lesson, pair_lesson, reckoning_lesson, wanted
from visor_core.nano.model import IMAGE_TOKENS, build_model, build_processor, save_checkpoint
from visor_core.nano.panels import COLUMNS, LABELS
from visor_core.nano.questions import OPERATIONS
from visor_core.nano.views import Lesson, View, lessons, load_picture, page_renderer, views
from visor_core.nano.world import COMPANIES, COVER, TOPICS, World
from visor_core.policies.attention import use_short_rows
from visor_core.policies.encoding import Encoder
from visor_core.policies.precision import fast_bfloat16
from visor_core.training.batching import collate
from visor_core.training.forward import add_row_head, prepare
from visor_core.training.rows import TurnRow, encode_reply

_CACHE_BYTES = 2**32
"""Memory for encoded pictures: the views of a world are met again and again, those of the nano profile take 1.3 GiB."""
DIGITS = (*(f"{tens}." for tens in range(1, 10)), *(f".{ones}" for ones in range(10)))
"""The tens and the ones of a number, which stand in image tokens of their own."""
WORDS = (*COMPANIES, *TOPICS, COVER, *LABELS, *DIGITS)
"""What an image token can spell; in the rich tier also the headings of a table's columns."""
_STATE = "training_state.pt"
_SAVE_STEPS = 100

OnStep = Callable[[dict[str, float | str]], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Share:
    """What one process makes of its share of a batch.

    `loss` is a sum over `items`, and accuracy `hits` of `tries`: both are divided once all processes' are added up.
    """

    loss: Tensor
    items: int
    hits: float
    tries: float


class WordSpotter(nn.Module):
    """Reads the words an image token covers straight off the language model's own embedding of those words.

    logit(token, word) = feature · embedding + bias, so that a feature becomes the sum of the embeddings of what it
    shows, and to the language model a picture looks like text it can copy. A digit's embedding is the mean over the
    numbers that have it in its place.

    Args:
        token_ids: the tokens of each word: one, or for a digit the numbers it stands in.
    """

    def __init__(self, token_ids: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.token_ids = [i for ids in token_ids for i in ids]
        self.owners = torch.tensor([word for word, ids in enumerate(token_ids) for _ in ids])
        self.shares = torch.tensor([1 / len(ids) for ids in token_ids for _ in ids]).unsqueeze(1)
        self.bias = nn.Parameter(torch.full((len(token_ids),), -3.0))

    def loss(self, features: Tensor, embedding: Tensor, targets: Tensor) -> Share:
        """Cross-entropy summed over words and image tokens; and what the F1 of words spotted is made of.

        Args:
            features: (N, 16, H) image tokens as the language model receives them.
            embedding: (V, H) of the language model.
            targets: (N, 16, words) in {0, 1}.
        """
        words = embedding.new_zeros(len(self.bias), embedding.shape[1], dtype=torch.float32)
        words = words.index_add(0, self.owners, embedding[self.token_ids].float() * self.shares)
        logits = features.float() @ words.T + self.bias
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        found = logits > 0
        right, either = float((found * targets).sum()), float(found.sum() + targets.sum())
        return Share(loss, targets[..., 0].numel(), 2 * right, either)


def words_of(tier: str) -> tuple[str, ...]:
    """What an image token can spell in a tier."""
    return (*WORDS, *COLUMNS) if tier == "rich" else WORDS


def tokens_of(word: str) -> list[str]:
    """The word itself, or the numbers that have a digit in its place."""
    if "." not in word:
        return [word]
    return [str(n) for n in range(10, 100) if all(d in (".", m) for d, m in zip(word, str(n), strict=True))]


def spelled(view: View, words: Sequence[str] = WORDS) -> Tensor:
    """(16, words): which words have their centre in which image token."""
    targets = torch.zeros(IMAGE_TOKENS, len(words))
    side = int(IMAGE_TOKENS**0.5)
    for mark in view.marks:
        targets[int(mark.y * side) * side + int(mark.x * side), words.index(mark.word)] = 1.0
    return targets


def train_base_model(
    world: World, primer: World, output: Path, config: NanoConfig, seed: int, on_step: OnStep | None = None
) -> dict[str, float]:
    """Train the base model on the pages of `world` (the training split) and `primer` and save it to `output`.

    Args:
        on_step: called after every step with `phase` ("vision", "alignment"), `step` (over both), `loss`, `accuracy`.

    Returns:
        Smoothed loss and accuracy at the end of both stages.
    """
    torch.manual_seed(seed)
    processor = build_processor(config.tier)
    model = build_model(processor.tokenizer, seed)
    use_short_rows(model)
    words = words_of(config.tier)
    ids = processor.tokenizer.convert_tokens_to_ids
    spotter = WordSpotter([ids([f"Ġ{token}" for token in tokens_of(word)]) for word in words])
    encoder = Encoder(processor, partial(load_picture, page_renderer(world, primer)), cache_bytes=_CACHE_BYTES)  # type: ignore[arg-type]
    every = views([*world.pages, *primer.pages], seed)
    trainer = _Trainer(output, model, spotter, config, seed, on_step or (lambda figures: None))
    trainer.resume()
    trainer.run(1, config.vision_steps, _vision_step(model, spotter, encoder, every, config, seed))
    add_row_head(model, temperature=1.0, forbidden=())
    trainer.run(2, config.alignment_steps, _alignment_step(model, encoder, every, config, seed))
    del model.forward
    if _rank() == 0:
        save_checkpoint(model.eval(), processor, output)
        trainer.finish()
    return trainer.figures


Step = Callable[[int], Share]


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _own(batch: Sequence[T], pages: Sequence[str]) -> list[T]:
    """This process's share of a batch, equal to the others'.

    As far as that allows, all pictures of a page go to the same process, which then draws and keeps them alone.
    `pages` names each item's page.
    """
    if not dist.is_initialized():
        return list(batch)
    processes = dist.get_world_size()
    room = [len(range(process, len(batch), processes)) for process in range(processes)]
    own = []
    for item, page in zip(batch, pages, strict=True):
        process = zlib.crc32(page.encode()) % processes
        if room[process] == 0:
            process = max(range(processes), key=room.__getitem__)
        room[process] -= 1
        if process == _rank():
            own.append(item)
    return own


def _page_of(lesson: Lesson) -> str:
    """The page a lesson shows; for one in words alone, its words."""
    images = lesson.prompt.images
    return images[0].page_id if images else str(lesson.prompt.messages[0].content[0])


def _added_up(values: Tensor) -> Tensor:
    """The sum over all processes."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def _vision_step(
    model: Any, spotter: WordSpotter, encoder: Encoder, every: Sequence[View], config: NanoConfig, seed: int
) -> Step:
    targets = [spelled(view, words_of(config.tier)) for view in every]
    # Numbers legible in an overview stand in more places than those of a crop, and on fewer pages.
    legible = {i for i, view in enumerate(every) if view.page.legible and view.ref.box == FULL_PAGE}
    strata = [s for s in (sorted(legible), sorted(set(range(len(every))) - legible)) if s]

    def step(number: int) -> Share:
        rng = random.Random(f"vision/{seed}/{number}")
        shares = _VIEW_SHARES[: len(strata)]
        drawn = [rng.choice(stratum) for stratum in rng.choices(strata, shares, k=config.batch_size)]
        chosen = _own(drawn, [every[i].page.page_id for i in drawn])
        pixels = encoder.stack([encoder.image(every[i].ref) for i in chosen])
        features = model.get_image_features(**pixels, return_dict=True).pooler_output
        embedding = model.get_input_embeddings().weight
        return spotter.loss(features, embedding, torch.stack([targets[i] for i in chosen]))

    return step


def _alignment_step(model: Any, encoder: Encoder, every: Sequence[View], config: NanoConfig, seed: int) -> Step:
    by_kind: dict[str, list[Lesson]] = {}
    for lesson in (lesson for view in every for lesson in lessons(view)):
        by_kind.setdefault(lesson.kind, []).append(lesson)
    overviews = [view for view in every if view.ref.box == FULL_PAGE and wanted(view)]
    to_read = [view for view in overviews if view.page.legible]
    to_crop = [view for view in overviews if not view.page.legible]
    crops = [view for view in every if view.ref.box != FULL_PAGE and wanted(view)]
    pictures = [p for p in (to_read, to_crop, crops) if p]
    operations = OPERATIONS if config.tier == "rich" else config.operations
    # The higher of two values is one of them, and learnt from few examples: the other lessons are enough for it.
    arithmetic = [operation for operation in operations if operation != "higher"]
    known: dict[int, TurnRow] = {}

    def row(lesson: Lesson) -> TurnRow:
        if id(lesson) not in known:
            known[id(lesson)] = lesson_row(lesson, encoder)
        return known[id(lesson)]

    def step(number: int) -> Share:
        rng = random.Random(f"alignment/{seed}/{number}")
        kinds = rng.choices(list(by_kind), [_KIND_SHARES[k] for k in by_kind], k=config.batch_size)
        rows = [row(lesson) for lesson in share([rng.choice(by_kind[k]) for k in kinds])]
        closings = [closing_lesson(rng.choice(rng.choice(pictures)), rng) for _ in range(config.closing_lessons)]
        closings += [pair_lesson(rng.choice(rng.choice(pictures)), operations, rng) for _ in range(config.pair_lessons)]
        closings += [reckoning_lesson(operations, rng) for _ in range(config.reckoning_lessons)]
        sums = [arithmetic_lesson(arithmetic, rng) for _ in range(config.arithmetic_lessons if arithmetic else 0)]
        # Apart, because a closing is twice as long as a reading, and a sum half: together, most tokens would be pads.
        parts = (rows, *([lesson_row(lesson, encoder) for lesson in share(part)] for part in (closings, sums)))
        log_probs, hits = (torch.cat(found) for found in zip(*(scored(part) for part in parts if part), strict=True))
        return Share(-log_probs.sum(), len(hits), float(hits.sum()), len(hits))

    def share(lessons: Sequence[Lesson]) -> list[Lesson]:
        return _own(lessons, [_page_of(lesson) for lesson in lessons])

    def scored(part: Sequence[TurnRow]) -> tuple[Tensor, Tensor]:
        batch = collate(part, encoder)
        log_probs, _, hits = model(row_batch=prepare(model, encoder, batch))
        return log_probs.flatten()[batch.slots], hits.flatten()[batch.slots]

    return step


_VIEW_SHARES = (0.35, 0.65)
# Which of several numbers in one picture belongs to a label is what takes longest to learn; titles are known early.
_KIND_SHARES = {"title": 0.1, "reading": 0.2, "legible": 0.5, "locate": 0.2, "absent": 0.1}


def lesson_row(lesson: Lesson, encoder: Encoder) -> TurnRow:
    """A lesson as a training row through the one processor path."""
    return encode_reply(lesson.prompt, lesson.reply, encoder, group=lesson.kind)


class _Trainer:
    """Runs the stages' steps: optimizer, schedule, saved state, figures."""

    def __init__(
        self, output: Path, model: Any, spotter: WordSpotter, config: NanoConfig, seed: int, on_step: OnStep
    ) -> None:
        self.output, self.model, self.spotter = output, model, spotter
        self.config, self.seed, self.on_step = config, seed, on_step
        self.figures: dict[str, float] = {}
        self._stage, self._step = 1, 0
        self._optimizer = self._fresh_optimizer()

    def _fresh_optimizer(self) -> torch.optim.Optimizer:
        parameters: Iterable[nn.Parameter] = [*self.model.parameters(), *self.spotter.parameters()]
        return torch.optim.AdamW(parameters, lr=self.config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)

    def resume(self) -> None:
        """Take up a saved state, if there is one."""
        path = self.output / _STATE
        if path.is_file():
            state = torch.load(path, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.spotter.load_state_dict(state["spotter"])
            self._stage, self._step, self.figures = state["stage"], state["step"], state["figures"]
            self._optimizer = self._fresh_optimizer()
            self._optimizer.load_state_dict(state["optimizer"])

    def run(self, stage: int, steps: int, step: Step) -> None:
        """One stage from where it stands to `steps`."""
        if self._stage > stage:
            return
        if self._stage < stage:
            self._stage, self._step = stage, 0
            self._optimizer = self._fresh_optimizer()
        self.model.train()
        for number in range(self._step, steps):
            for group in self._optimizer.param_groups:
                group["lr"] = self.config.learning_rate * _schedule(number, steps)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast_bfloat16()):
                share = step(number)
            figures = _added_up(torch.tensor([share.loss.item(), share.items, share.hits, share.tries]).double())
            loss, items, hits, tries = figures.tolist()
            self._optimizer.zero_grad(set_to_none=True)
            (share.loss / items).backward()  # type: ignore[no-untyped-call]
            self._add_up_gradients()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self._optimizer.step()
            self._record(stage, number + 1, loss / items, hits / max(1.0, tries))
            if _rank() == 0 and ((number + 1) % _SAVE_STEPS == 0 or number + 1 == steps):
                self._save(stage, number + 1)

    def _add_up_gradients(self) -> None:
        if not dist.is_initialized():
            return
        gradients = [p.grad for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
        flat = _added_up(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def _record(self, stage: int, step: int, loss: float, accuracy: float) -> None:
        phase = "vision" if stage == 1 else "alignment"
        for name, value in (("loss", loss), ("accuracy", accuracy)):
            key = f"{phase}_{name}"
            self.figures[key] = 0.95 * self.figures.get(key, value) + 0.05 * value
        before = 0 if stage == 1 else self.config.vision_steps
        self.on_step({"phase": phase, "step": before + step, "loss": loss, "accuracy": accuracy})

    def _save(self, stage: int, step: int) -> None:
        state = {
            "model": self.model.state_dict(),
            "spotter": self.spotter.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "stage": stage,
            "step": step,
            "figures": self.figures,
        }
        with whole_file(self.output / _STATE) as partial_file:
            torch.save(state, partial_file)

    def finish(self) -> None:
        """Keep the figures, drop the state."""
        (self.output / "training.json").write_text(json.dumps({"seed": self.seed, **self.figures}), encoding="utf-8")
        (self.output / _STATE).unlink(missing_ok=True)


def _schedule(step: int, steps: int) -> float:
    """Warm-up over 5 %, then cosine to a tenth."""
    warmup = max(1, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
