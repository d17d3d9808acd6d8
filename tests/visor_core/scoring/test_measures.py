"""Retrieval, ledger, crop, citation and fact measures by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.visor_core.training.episodes import PANEL, entry, episode, question, turn
from visor_core.geometry import FULL_PAGE, Box
from visor_core.questions import Fact
from visor_core.scoring.citations import citation_f1, citation_precision, citation_recall
from visor_core.scoring.crops import Region, crop_f1, crops_made, gold_regions, matched
from visor_core.scoring.facts import claimed_values, confirmed_readings, is_recorded, recorded_facts, supported
from visor_core.scoring.ledger import compactness, coverage
from visor_core.scoring.retrieval import f1, interleave, ndcg, precision, recall, recall_at

STAFF = Fact("acme staff", "q3", "47", "p1", PANEL)


def test_sets() -> None:
    assert recall(["a", "b"], ["b", "c"]) == 0.5
    assert recall([], []) == 1.0
    assert precision(["a", "b", "b"], ["b"]) == 0.5
    assert precision([], ["b"]) == 0.0
    assert f1(["a", "b"], ["b"]) == pytest.approx(2 / 3)
    assert recall_at(["a", "a", "b", "c"], ["b", "c"], 2) == 0.5


def test_ndcg_by_hand() -> None:
    assert ndcg(["x", "g"], ["g"]) == pytest.approx(1 / math.log2(3))
    assert ndcg(["g", "x", "h"], ["g", "h"]) == pytest.approx(1.5 / (1 + 1 / math.log2(3)))
    assert ndcg(["g", "g"], ["g", "h"]) == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert ndcg(["x", "g"], ["g"], k=1) == 0.0
    assert ndcg([], []) == ndcg(["x"], []) == 0.0


def test_interleaving_offers_each_page_once() -> None:
    assert interleave([["a", "b", "c"], ["b", "d"], ["e"]], []) == ["a", "b", "e", "d", "c"]
    # gold b keeps the place of its first offer
    assert interleave([["a", "b", "c"], ["b", "d"], ["e"]], ["b"]) == ["a", "e", "b", "d", "c"]
    # what a search in vain has shown does not make way for the gold page of the next one
    assert interleave([["a", "b"], ["a", "b", "g"]], ["g"]) == ["a", "b", "g"]
    assert interleave([], ["g"]) == []


PAGES = "abcdefg"


@given(
    rankings=st.lists(st.lists(st.sampled_from(PAGES), max_size=4), max_size=4),
    gold=st.sets(st.sampled_from("abc"), min_size=1),
    useless=st.lists(st.sampled_from("defgxy"), max_size=5),
    place=st.integers(0, 4),
)
def test_a_search_without_new_gold_never_raises_ndcg(
    rankings: list[list[str]], gold: set[str], useless: list[str], place: int
) -> None:
    before = ndcg(interleave(rankings, gold), gold)
    vain = [page for page in useless if page not in gold]
    assert ndcg(interleave([*rankings[:place], vain, *rankings[place:]], gold), gold) <= before + 1e-12
    known = [page for ranking in rankings[:place] for page in ranking]
    again = [*rankings[:place], [*known[::-1], *vain], *rankings[place:]]
    assert ndcg(interleave(again, gold), gold) <= before + 1e-12


def test_ledger() -> None:
    ledger = [entry(1, "p1", "a"), entry(2, "p9", "b"), replace(entry(3, "p2", "c"), kind="rejected")]
    found = episode(question(("p1", "p2")), [], evidence=ledger)
    assert coverage(found) == 0.5
    assert compactness(found) == 0.5
    superseded = episode(question(("p1",)), [], evidence=[*ledger[:1], replace(entry(2, "p1", "d"), supersedes=1)])
    assert coverage(superseded) == 1.0


def test_crops() -> None:
    left, right = Region("p1", PANEL), Region("p1", Box(0.6, 0.6, 0.9, 0.9))
    wide = Region("p1", Box(0.1, 0.1, 0.4, 0.5))
    assert matched([left, wide], [left, wide]) == 2
    # both crops fit the first box, only one the second: the matching finds the pairing that serves both
    assert matched([left, wide], [wide, left]) == 2
    assert crop_f1([], []) == 1.0
    assert crop_f1([left], []) == 0.0
    assert crop_f1([left, right], [left]) == pytest.approx(2 / 3)
    assert crop_f1([Region("p2", PANEL)], [left]) == 0.0
    assert crop_f1([Region("p2", PANEL)], [Region("", PANEL)]) == 1.0


def test_crops_of_an_episode() -> None:
    turns = [turn(1, "search", pages=["p1"]), turn(2, "crop", pages=["p1"], box=PANEL)]
    assert crops_made(episode(question(), turns)) == (Region("p1", PANEL),)
    assert gold_regions(question(facts=(STAFF,))) == (Region("p1", PANEL),)
    assert gold_regions(question(("p1",), boxes=(PANEL,))) == (Region("p1", PANEL),)
    assert gold_regions(question(("p1", "p2"), boxes=(PANEL,))) == (Region("", PANEL),)


def test_citations() -> None:
    found = episode(question(("p1", "p2")), [], cited=["p1", "p9", "p1"])
    assert (citation_recall(found), citation_precision(found), citation_f1(found)) == (0.5, 0.5, 0.5)
    assert citation_f1(episode(question(()), [])) == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("acme staff q3 47", True),
        ("Acme staff: Q3 is 47.", True),
        ("acme staff q3 48", False),
        ("acme staff q3 4", False),
        ("acme sales q3 47", False),
        ("acme staff q1 47", False),
        ("acme staff 47 q3", False),
        ("acme staff q3 47 q3 48", False),
        ("acme staff q1 12 q3 47", True),
    ],
)
def test_a_fact_is_recorded_with_subject_label_and_value(text: str, expected: bool) -> None:
    assert is_recorded(STAFF, [entry(1, "p1", text)]) is expected


def test_the_latest_standing_reading_counts() -> None:
    right, wrong = entry(1, "p1", "acme staff q3 47"), entry(2, "p1", "acme staff q3 41")
    assert is_recorded(STAFF, [wrong, right])
    assert not is_recorded(STAFF, [right, wrong])
    assert is_recorded(STAFF, [right, entry(2, "p1", "acme staff")])
    assert not is_recorded(STAFF, [replace(right, page_id="p2")])


def test_supported_needs_answer_and_facts() -> None:
    asked = question(("p1",), facts=(STAFF,))
    read = [entry(1, "p1", "acme staff q3 47")]
    assert supported(episode(asked, [], answer="47", evidence=read))
    assert not supported(episode(asked, [], answer="46", evidence=read))
    assert not supported(episode(asked, [], answer="47"))
    assert recorded_facts(episode(question(), [])) == 1.0


def test_claimed_values() -> None:
    assert claimed_values("q3 is 47, later q3 was 1,250", "q3") == ["47", "1250"]
    assert claimed_values("q3", "q3") == []


def test_readings_are_confirmed_by_label_and_region() -> None:
    words = [
        ("Revenue", 0.1, 0.1, 0.2, 0.12),
        ("1,250", 0.22, 0.1, 0.3, 0.12),
        ("Costs", 0.1, 0.8, 0.2, 0.82),
        ("900", 0.22, 0.8, 0.3, 0.82),
    ]
    found = confirmed_readings("Revenue 1250; costs 900", FULL_PAGE, words)
    assert found.confirmed == {("revenue", "1250"), ("costs", "900")}
    assert not found.unsupported
    top = Box(0.0, 0.0, 1.0, 0.5)
    found = confirmed_readings("revenue 1250, costs 900", top, words)
    assert (found.confirmed, found.unsupported) == ({("revenue", "1250")}, {("costs", "900")})
    found = confirmed_readings("1250 900", FULL_PAGE, words)
    assert not found.confirmed
