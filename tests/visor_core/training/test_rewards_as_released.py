"""What the released rewards of VRAG-RL and UniDoc-RL pay for the same rollout: gates, NDCG, and crops as asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.visor_core.training.episodes import PANEL, episode, question, turn
from tests.visor_core.training.test_rewards import FAR, NOTHING, SALES, STAFF, answered, searches, value
from visor_core.agent.correction import frame_of, page_region
from visor_core.agent.trajectory import Observation
from visor_core.config import CropConfig
from visor_core.geometry import Box, iou
from visor_core.policies.base import ImageRef
from visor_core.training.rewards import components
from visor_core.training.rows import turn_rewards

PAGE_SHOWN = Observation("page", images=(ImageRef("p1", 560, 700),))


@pytest.mark.parametrize("preset", ["vrag", "unidoc"])
@pytest.mark.parametrize("gold", [(), ("p1",)])
def test_a_guess_without_a_search_earns_nothing(preset: str, gold: Sequence[str]) -> None:
    """The released rewards look for the tags of a search (and selection and information) before they pay anything."""
    assert value(episode(question(gold), answered("47", []), answer="47"), preset) == 0.0
    cited = episode(question(gold), answered("47", []), answer="47", cited=gold)
    assert value(cited, preset, citation=1.0) == 0.0


def test_unidoc_pays_only_with_a_selection_and_a_reply_to_it() -> None:
    unselected = [turn(1, "search", text="q", pages=["p1", "p2"], returned="candidates")]
    chosen = [*unselected, turn(2, "select", pages=["p1"], choice=1)]
    forced = replace(turn(3, "answer", text="47"), forced=True)
    asked = question(("p1",))
    assert value(episode(asked, answered("47", unselected), answer="47"), "unidoc") == 0.0
    assert value(episode(asked, [*chosen, forced], answer="47", outcome="forced"), "unidoc") == 0.0
    assert value(episode(asked, answered("47", chosen), answer="47"), "unidoc") == pytest.approx(1.0)


def test_without_a_gold_page_ndcg_is_nothing() -> None:
    """As in the released code: an ideal gain of 0 gives 0."""
    found = components(episode(question(()), answered("47", searches("p9"))), NOTHING)
    assert (found["shown_ndcg"], found["candidate_ndcg"]) == (0.0, 0.0)


def test_crops_are_averaged_over_the_pages_looked_at() -> None:
    """p1 and p2 each need one region; what was asked for on the one does not make up for the other."""
    asked = question(("p1", "p2"), facts=(STAFF, replace(SALES, box=FAR)))

    def earned(*crops: tuple[str, Box], pages: Sequence[str] = ("p1", "p2", "p9")) -> float:
        made = [turn(10 + i, "crop", pages=[page], box=box) for i, (page, box) in enumerate(crops)]
        return components(episode(asked, answered("59", [*searches(*pages), *made], index=30)), NOTHING)["crop"]

    assert earned(("p1", PANEL), ("p2", FAR)) == 1.0
    assert earned(("p1", PANEL)) == 0.5
    assert earned(("p1", PANEL), pages=("p1", "p9")) == 1.0  # p2 was not looked at
    assert earned(("p1", PANEL), ("p1", FAR), ("p2", FAR)) == pytest.approx((2 / 3 + 1) / 2)
    assert earned(("p1", PANEL), ("p2", FAR), ("p9", FAR)) == pytest.approx(2 / 3)
    assert earned(pages=("p9",)) == 1.0


@pytest.mark.parametrize("box", [Box(0.4, 0.4, 0.5, 0.5), Box(0.9, 0.9, 1.0, 1.0), Box(0.5, 0.2, 0.7, 0.4)])
def test_a_perfect_request_for_a_small_region_earns_the_crop(box: Box) -> None:
    """1 to 4 % of the page: shown with padding, the region is several times as large as what was asked for."""
    page = replace(turn(1, "search", pages=["p1"]), observation=PAGE_SHOWN)
    frame = frame_of(PAGE_SHOWN.images[0], "pixels")
    asked_for = tuple(float(v) for v in frame.from_page(box))
    region = page_region(asked_for, frame, (600, 800), CropConfig()).box  # type: ignore[arg-type]
    assert region is not None
    assert iou(region, box) < 0.5
    crop = turn(2, "crop", pages=["p1"], box=region)
    crop = replace(crop, action=replace(crop.action, box=asked_for))
    rollout = episode(question(("p1",), boxes=(box,)), answered("47", [page, crop]))
    assert components(rollout, NOTHING)["crop"] == 1.0
    assert turn_rewards(rollout, NOTHING)[2] == 1.0
