"""The embedded default's page retriever: late interaction on the base model's own vision tower.

ColPali's shape (arXiv 2407.01449): every token of a page picture and of a query becomes one unit vector, a page's score
is the sum over query vectors of their best match (MaxSim). The network is transformers' `ColModernVBertForRetrieval`,
whose backbone is any `AutoModel`: here the Idefics3 that the base model trained, so `AutoModelForPreTraining`
and `AutoProcessor` load the folder with no code of ours. Trained contrastively with in-batch negatives, both ways.

Left out: hard-negative mining, query augmentation by text rewriting.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from visor_core.errors import DataError
from visor_core.files import grant_by_umask, whole_file
from visor_core.nano.views import load_picture, page_renderer, view_of
from visor_core.nano.world import World
from visor_core.policies.precision import fast_bfloat16
from visor_core.policies.transformers import load_checkpoint

EMBEDDING_DIM = 64
_TEMPERATURE = 0.05
_STATE = "training_state.pt"


@dataclass(frozen=True, slots=True)
class TitledPage:
    """A page picture and what a reader would search it by; pages that share a title are never negatives."""

    image: Image.Image
    title: str


def titled_pages(world: World) -> list[TitledPage]:
    """Every page of a world with its title as the picture shows it."""
    renderer = page_renderer(world)
    return [TitledPage(load_picture(renderer, view_of(page).ref), page.title) for page in world.pages]


def maxsim(queries: torch.Tensor, pages: torch.Tensor) -> torch.Tensor:
    """Late-interaction scores.

    Args:
        queries: (Q, Tq, D), zero rows for padding.
        pages: (P, Tp, D), zero rows for padding.

    Returns:
        (Q, P): sum over query tokens of the best dot product with a page token.
    """
    return torch.einsum("qid,pjd->qpij", queries, pages).amax(dim=-1).sum(dim=-1)


def contrastive_loss(queries: torch.Tensor, pages: torch.Tensor, temperature: float = _TEMPERATURE) -> torch.Tensor:
    """Symmetric InfoNCE over MaxSim scores, query i belonging to page i; scores are averaged per query token."""
    lengths = (queries.abs().sum(dim=-1) > 0).sum(dim=-1, keepdim=True).clamp(min=1)
    scores = maxsim(queries, pages) / lengths / temperature
    target = torch.arange(len(scores))
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def build_retriever(base_model: Path) -> tuple[Any, Any]:
    """An untrained retriever around the base model's weights: (`ColModernVBertForRetrieval`, its processor).

    Raises:
        DataError: if the folder holds no Idefics3 checkpoint.
        PolicyError: if its weights are not all there.
    """
    from transformers.models.colmodernvbert import (
        ColModernVBertConfig,
        ColModernVBertForRetrieval,
        ColModernVBertProcessor,
    )

    if not (base_model / "config.json").is_file():
        raise DataError(f"no model in {base_model}: materialize the asset `base_model` first")
    base, processor = load_checkpoint(base_model)
    if base.config.model_type != "idefics3":
        raise DataError(f"{base_model} holds a {base.config.model_type}, not an idefics3: the nano retriever needs one")
    vlm_config = base.config.to_dict()
    # The folder the base was loaded from would make fingerprint and index tag those of one place on one machine.
    vlm_config.pop("_name_or_path", None)
    config = ColModernVBertConfig(vlm_config=vlm_config, embedding_dim=EMBEDDING_DIM)
    model = ColModernVBertForRetrieval(config)
    model.vlm.load_state_dict(base.model.state_dict())
    retriever_processor = ColModernVBertProcessor(
        image_processor=processor.image_processor,
        tokenizer=processor.tokenizer,
        image_seq_len=processor.image_seq_len,
        visual_prompt_prefix="<image>",
    )
    return model, retriever_processor


def train_retriever(
    base_model: Path,
    pages: Sequence[TitledPage],
    output: Path,
    *,
    steps: int,
    batch_size: int = 48,
    learning_rate: float = 1e-3,
    seed: int = 0,
    save_steps: int = 50,
    on_step: Callable[[dict[str, float | str]], None] | None = None,
) -> Path:
    """Train the retriever and save it as a Hugging Face folder; continues from `output` after a kill.

    Args:
        pages: the training pages; a batch holds `batch_size` pages with distinct titles.
        steps: optimizer steps.
        on_step: called with `step`, `loss`, `accuracy` (share of queries whose own page scores highest in the batch).

    Raises:
        DataError: if fewer than two distinct titles are given.
    """
    by_title: dict[str, list[int]] = {}
    for i, page in enumerate(pages):
        by_title.setdefault(page.title, []).append(i)
    titles = sorted(by_title)
    if len(titles) < 2:
        raise DataError("the retriever needs pages with at least two distinct titles to learn from")
    torch.manual_seed(seed)
    model, processor = build_retriever(base_model)
    encoded = processor.process_images([page.image for page in pages])
    queries = processor.process_queries(titles)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    first = _resume(output, model, optimizer)
    model.train()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _schedule(step, steps)
        # The batch depends on (seed, step) alone, so a resumed run draws the same batches.
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        chosen = torch.randperm(len(titles), generator=generator)[:batch_size].tolist()
        rows = [_pick(by_title[titles[t]], generator) for t in chosen]
        loss, accuracy = _train_step(model, optimizer, _rows(encoded, rows), _rows(queries, chosen))
        if on_step is not None:
            on_step({"step": step + 1, "loss": loss, "accuracy": accuracy})
        if (step + 1) % save_steps == 0 and step + 1 < steps:
            _save_state(output, model, optimizer, step + 1)
    model.eval()
    output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(output)
    processor.save_pretrained(output)
    grant_by_umask(output)
    (output / _STATE).unlink(missing_ok=True)
    (output / "training.json").write_text(json.dumps({"steps": steps, "seed": seed, "pages": len(pages)}))
    return output


def _train_step(model: Any, optimizer: torch.optim.Optimizer, pages: Any, queries: Any) -> tuple[float, float]:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast_bfloat16()):
        page_vectors = model(**pages).embeddings
        query_vectors = model(**queries).embeddings
    page_vectors, query_vectors = page_vectors.float(), query_vectors.float()
    loss = contrastive_loss(query_vectors, page_vectors)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        hits = maxsim(query_vectors, page_vectors).argmax(dim=1) == torch.arange(len(query_vectors))
    return loss.item(), hits.float().mean().item()


def _schedule(step: int, steps: int) -> float:
    warmup = max(1, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _pick(candidates: Sequence[int], generator: torch.Generator) -> int:
    return candidates[int(torch.randint(len(candidates), (1,), generator=generator))]


def _rows(batch: Any, rows: Sequence[int]) -> dict[str, torch.Tensor]:
    return {name: value[list(rows)] for name, value in batch.items()}


def _save_state(output: Path, model: Any, optimizer: torch.optim.Optimizer, step: int) -> None:
    with whole_file(output / _STATE) as partial:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, partial)


def _resume(output: Path, model: Any, optimizer: torch.optim.Optimizer) -> int:
    path = output / _STATE
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
