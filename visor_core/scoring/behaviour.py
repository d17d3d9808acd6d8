"""How an episode went, beside its answer: pages found and kept, boxes and citations against gold, crops corrected.

Every figure is of one episode; None stands where the gold it needs is not known, or there is nothing to judge, so that
a mean is over what is known and never counts a blank as 0. Sources: ledger coverage and precision are SCoRE's `cov` and
`cmp` (arXiv 2609.15800); the boxes' F1 is `scoring.crops`'. A citation is judged by the words of its page: it is right
where the answer is printed inside the cited region. Left out: answers in other words than the page's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from visor_core.agent.trajectory import Trajectory
from visor_core.geometry import FULL_PAGE
from visor_core.questions import gold_is_complete
from visor_core.scoring.answers import says_missing
from visor_core.scoring.citations import citation_precision, citation_recall, cited_pages
from visor_core.scoring.crops import Region, crop_f1, matched
from visor_core.scoring.ledger import compactness, coverage, ledger_pages, pages_read
from visor_core.scoring.lists import items_of
from visor_core.scoring.located import WordsOf, gold_boxes, lies_in, places

REFUSED = frozenset({"degenerate", "outside", "whole page", "repeat", "blank", "not drawn"})
"""Faults for which the model-free checks refuse a box."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The figures of one episode.

    Pages: `gold_complete` says that every gold page was shown in full, `pages_kept` counts those with a reading,
    `non_gold_kept` those of them that are not gold; `chain_complete` that every gold page was shown, read and cited;
    `first_query` that the first search showed a gold page. Citations: `gold_cited` is the share of gold pages cited,
    `cited_gold` of cited pages that are gold; `answer_cited` the share of the answer's items that stand in a cited
    region, `citations_right` of cited regions in which one stands. Boxes, of the regions cited as they were asked
    for: `boxes_matched` is the share of gold boxes with IoU ≥ 0.5, `box_f1` its F1, `boxes_held` the share that lies
    whole in a region shown and cited, of `gold_boxes` boxes. Crops: `crops_judged` were shown, `crops_rejected` of them
    judged bad, `boxes_refused` never shown; `readings_saved` counts rejected crops whose page keeps an earlier reading.
    """

    gold_complete: bool | None
    pages_kept: int
    non_gold_kept: int | None
    ledger_coverage: float | None
    ledger_precision: float | None
    chain_complete: bool | None
    first_query: bool | None
    gold_cited: float | None
    cited_gold: float | None
    answer_cited: float | None
    citations_right: float | None
    gold_boxes: int
    boxes_matched: float | None
    box_f1: float | None
    boxes_held: float | None
    crops_judged: int
    crops_rejected: int
    boxes_refused: int
    readings_saved: int


def behaviour(episode: Trajectory, words_of: WordsOf | None = None) -> Behaviour:
    """The figures of an episode.

    Args:
        words_of: the words of a page; without it, what is judged by words is not known.
    """
    question = episode.question
    gold = set(question.gold_pages)
    known = bool(gold) and gold_is_complete(question)
    looked, kept = set(episode.pages_looked_at), pages_read(episode)
    boxes = gold_boxes(question, words_of)
    asked, shown = cited_regions(episode)
    ledger = _keeps_ledger(episode)
    covered, right = _grounded(episode, shown, words_of)
    crops = [turn for turn in episode.turns if turn.observation.kind == "crop"]
    rejected = [entry for entry in episode.evidence if entry.kind == "rejected" and entry.box is not None]
    standing = {entry.page_id for entry in episode.standing_evidence}
    cited = cited_pages(episode)
    return Behaviour(
        gold_complete=gold <= looked if known else None,
        pages_kept=len(kept),
        non_gold_kept=len(set(kept) - gold) if known else None,
        ledger_coverage=coverage(episode) if known and ledger else None,
        ledger_precision=compactness(episode) if known and ledger and ledger_pages(episode) else None,
        chain_complete=gold <= looked & set(kept) & set(cited) if known else None,
        first_query=_first_query(episode, gold) if known else None,
        gold_cited=citation_recall(episode) if known else None,
        cited_gold=citation_precision(episode) if known and cited else None,
        answer_cited=covered,
        citations_right=right,
        gold_boxes=len(boxes or ()),
        boxes_matched=matched(asked, boxes) / len(boxes) if boxes else None,
        box_f1=crop_f1(asked, boxes) if boxes else None,
        boxes_held=sum(any(_holds(r, box) for r in shown) for box in boxes) / len(boxes) if boxes else None,
        crops_judged=len(crops),
        crops_rejected=len(rejected),
        boxes_refused=sum(turn.observation.fault in REFUSED for turn in episode.turns),
        readings_saved=sum(entry.page_id in standing for entry in rejected),
    )


def cited_regions(episode: Trajectory) -> tuple[list[Region], list[Region]]:
    """What the answer cites, each once: as it was asked for, and as it was shown, which is larger by padding.

    A citation of a whole page is the whole page in both.
    """
    chosen = {
        (turn.observation.images[-1].page_id, turn.observation.images[-1].box): region
        for turn, region in zip(episode.turns, episode.chosen_regions, strict=True)
        if region is not None
    }
    asked: dict[Region, Region] = {}
    for citation in episode.citations:
        shown = citation.box or FULL_PAGE
        region = chosen.get((citation.page_id, shown))
        asked[Region(citation.page_id, shown)] = Region(citation.page_id, region.box if region else shown)
    return list(asked.values()), list(asked)


def _grounded(
    episode: Trajectory, shown: Sequence[Region], words_of: WordsOf | None
) -> tuple[float | None, float | None]:
    """Citation coverage and precision by words: shares of the answer's items cited, and of cited regions right.

    None where nothing was answered, or no item stands on a page that was looked at: then it was computed, or stands in
    a picture, and the words cannot tell.
    """
    if not episode.answer.strip() or says_missing(episode.answer) or not shown:
        return None, None
    pages = {page_id: words_of(page_id) if words_of else () for page_id in episode.pages_looked_at}
    found = {
        item: [
            Region(page, box) for page, words in pages.items() for box in places(item, page, words, episode.question)
        ]
        for item in items_of(episode.answer)
    }
    items = [item for item, spots in found.items() if spots]
    if not items:
        return None, None
    stands = {
        (i, r): any(s.page_id == r.page_id and lies_in(s.box, r.box) for s in found[i]) for i in items for r in shown
    }
    covered = sum(any(stands[i, r] for r in shown) for i in items) / len(items)
    return covered, sum(any(stands[i, r] for i in items) for r in shown) / len(shown)


def _first_query(episode: Trajectory, gold: set[str]) -> bool | None:
    """Whether the first search showed a gold page; None without a search."""
    first = next((turn for turn in episode.turns if turn.action.kind == "search"), None)
    return None if first is None else any(image.page_id in gold for image in first.observation.images)


def _holds(region: Region, gold: Region) -> bool:
    return gold.page_id in ("", region.page_id) and region.box.contains(gold.box)


def _keeps_ledger(episode: Trajectory) -> bool:
    """Whether the strategy has an Evidence Space."""
    return bool(json.loads(episode.config or "{}").get("evidence", {}).get("enabled", True))
