"""Crops against gold boxes: one-to-one matching at an IoU threshold, and the F1 of it.

Source: UniDoc-RL's crop reward (arXiv 2604.14967), F1 at IoU ≥ 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from visor_core.geometry import Box, iou
from visor_core.questions import Question
from visor_core.scoring.episode import Episode


@dataclass(frozen=True, slots=True)
class Region:
    """A box on a page; an empty `page_id` matches any page."""

    page_id: str
    box: Box


def matches(region: Region, gold: Region, threshold: float = 0.5) -> bool:
    """Whether two regions lie on the same page with IoU ≥ threshold (but for rounding)."""
    same_page = not gold.page_id or region.page_id == gold.page_id
    return same_page and iou(region.box, gold.box) >= threshold - 1e-9


def matched(regions: Sequence[Region], gold: Sequence[Region], threshold: float = 0.5) -> int:
    """Size of the largest one-to-one matching (augmenting paths, so the order of the crops does not matter)."""
    owner: dict[int, int] = {}

    def place(candidate: int, tried: set[int]) -> bool:
        for target, wanted in enumerate(gold):
            if target in tried or not matches(regions[candidate], wanted, threshold):
                continue
            tried.add(target)
            if target not in owner or place(owner[target], tried):
                owner[target] = candidate
                return True
        return False

    return sum(place(index, set()) for index in range(len(regions)))


def crop_f1(regions: Sequence[Region], gold: Sequence[Region], threshold: float = 0.5) -> float:
    """1 if none is needed and none was made, 0 if only one of both holds, else F1 of the matching."""
    if not regions or not gold:
        return float(not regions and not gold)
    return 2 * matched(regions, gold, threshold) / (len(regions) + len(gold))


def crops_made(episode: Episode) -> tuple[Region, ...]:
    """Every crop the episode was shown, in order."""
    return tuple(
        Region(image.page_id, image.box)
        for turn in episode.turns
        if turn.observation.kind == "crop"
        for image in turn.observation.images
    )


def gold_regions(question: Question) -> tuple[Region, ...]:
    """The question's gold boxes: of its facts where known, else its own (tied to the page if only one is gold)."""
    if question.gold_facts:
        return tuple(dict.fromkeys(Region(fact.page_id, fact.box) for fact in question.gold_facts))
    page = question.gold_pages[0] if len(question.gold_pages) == 1 else ""
    return tuple(Region(page, box) for box in question.gold_boxes)
