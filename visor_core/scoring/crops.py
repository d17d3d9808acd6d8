"""Crops against gold boxes: what was chosen, the F1 at an IoU threshold, and its mean over the pages looked at.

After UniDoc-RL's crop reward (arXiv 2604.14967): F1 at IoU ≥ 0.5 of the boxes asked for, a mean over the selected
pages, where one crop may match several gold boxes; a page that needs no crop and has none is right. It differs in five
things. Precision is at most 1: the released code counts the gold boxes that crops match, so that one crop over two of
them earns 4/3. A page that needs no crop and has none counts only where no other page does, so that one more useless
search cannot raise the mean. Candidates of which none was picked do not count; there, the top-ranked one does. All
crops of a page count, as an action has one box here; there, the boxes of the first action. And boxes are compared as
asked for in evaluation too, where the released code pads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """How many gold boxes some crop matches; one crop may match several."""
    return sum(any(matches(region, wanted, threshold) for region in regions) for wanted in gold)


def crop_f1(regions: Sequence[Region], gold: Sequence[Region], threshold: float = 0.5) -> float:
    """1 if none is needed and none was made, 0 if only one of both holds, else F1 of the gold boxes matched."""
    if not regions or not gold:
        return float(not regions and not gold)
    found = matched(regions, gold, threshold)
    recall, precision = found / len(gold), min(1.0, found / len(regions))
    return 2 * recall * precision / (recall + precision) if found else 0.0


def crop_reward(looked_at: Iterable[str], regions: Sequence[Region], gold: Sequence[Region]) -> float:
    """Mean of `crop_f1` over the pages looked at, in [0, 1].

    Where gold boxes are not tied to a page, or no page was looked at, all crops are compared with all gold boxes.
    """
    pages = dict.fromkeys([*looked_at, *(region.page_id for region in regions)])
    if not pages or any(not wanted.page_id for wanted in gold):
        return crop_f1(regions, gold)
    by_page = [
        (
            [region for region in regions if region.page_id == page],
            [wanted for wanted in gold if wanted.page_id == page],
        )
        for page in pages
    ]
    scores = [crop_f1(made, needed) for made, needed in by_page if made or needed]
    return sum(scores) / len(scores) if scores else 1.0


def crops_made(episode: Episode) -> tuple[Region, ...]:
    """What every crop of the episode asked for, in order: the box before it was padded and grown to be shown."""
    return tuple(Region(chosen.page_id, chosen.box) for chosen in episode.chosen_regions if chosen is not None)


def gold_regions(question: Question) -> tuple[Region, ...]:
    """The regions that have to be cropped: of the question's facts where known, but for those legible on the whole
    page, else its gold boxes (tied to the page if only one is gold)."""
    if question.gold_facts:
        needed = (fact for fact in question.gold_facts if fact.needs_crop)
        return tuple(dict.fromkeys(Region(fact.page_id, fact.box) for fact in needed))
    page = question.gold_pages[0] if len(question.gold_pages) == 1 else ""
    return tuple(Region(page, box) for box in question.gold_boxes)
