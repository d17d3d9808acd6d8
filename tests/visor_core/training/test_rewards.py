"""Reward presets against tables worked by hand, and the properties every preset must have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.visor_core.training.episodes import PANEL, entry, episode, question, turn
from visor_core.agent.trajectory import Trajectory, Turn
from visor_core.config import AgentConfig
from visor_core.errors import ConfigError
from visor_core.geometry import Box
from visor_core.questions import Fact
from visor_core.training.rewards import (
    COMPONENTS,
    PRESETS,
    RewardContext,
    check_reachable,
    combine,
    components,
    highest,
    resolve,
    score,
)
from visor_core.training.rewards.retrieval import candidate_ndcg
from visor_core.training.rewards.searches import excess_searches, search_economy
from visor_core.training.rows import token_sections, turn_rewards

NOTHING = RewardContext()
STAFF = Fact("acme staff", "q3", "47", "p1", PANEL)
SALES = Fact("acme sales", "q1", "12", "p2", PANEL)


WORDS = [
    ("q3", 0.1, 0.1, 0.2, 0.15),
    ("47", 0.1, 0.2, 0.2, 0.3),
    ("q1", 0.6, 0.1, 0.7, 0.15),
    ("12", 0.6, 0.2, 0.7, 0.3),
]
LEGIBLE = RewardContext(words=lambda page: WORDS)
"""Every page shows q3 47 on the left and q1 12 on the right."""


def value(trajectory: Trajectory, preset: str, **overrides: float) -> float:
    found = score(trajectory, preset, LEGIBLE, overrides=overrides).reward
    assert found is not None
    return found


def searches(*pages: str, start: int = 1) -> list[Turn]:
    return [turn(start + i, "search", text=f"query {page}", pages=[page]) for i, page in enumerate(pages)]


def answered(text: str, turns: Sequence[Turn], *, index: int = 9, well_formed: bool = True) -> list[Turn]:
    return [*turns, turn(index, "answer", text=text, well_formed=well_formed)]


def two_hop(pages: Sequence[str], answer: str, ledger: Sequence[str], *, well_formed: bool = True) -> Trajectory:
    """A question that needs p1 and p2."""
    return episode(
        question(("p1", "p2"), answers=("59",), facts=(STAFF, SALES)),
        answered(answer, searches(*pages), well_formed=well_formed),
        answer=answer,
        evidence=[entry(i, page, "seen") for i, page in enumerate(ledger, start=1)],
    )


@pytest.mark.parametrize(
    ("pages", "answer", "ledger", "expected"),
    [
        # cov 1, cmp 1, right
        (["p1", "p2"], "59", ["p1", "p2"], 1 + 0.2 + 1),
        # cov 1, cmp 2/3, wrong
        (["p1", "p2"], "60", ["p1", "p2", "p9"], 1 + 0.2 * 2 / 3),
        # cov 1/2: −1, however right the answer
        (["p1", "p2"], "59", ["p1"], 0.5 - 1),
        (["p9"], "60", ["p9"], -1.0),
    ],
)
def test_score_by_hand(pages: list[str], answer: str, ledger: list[str], expected: float) -> None:
    assert value(two_hop(pages, answer, ledger), "score") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pages", "answer", "expected"),
    [
        (["p1", "p2"], "59", 1.5),
        (["p1", "p2", "p3"], "59", 1.5),  # one verification search is allowed
        (["p1", "p2", "p3", "p4", "p5"], "59", 1.5 * 0.8),  # two in excess
        (["p1", "p2"], "60", 0.5),
        (["p1"], "59", 1.0),
        (["p1"], "not answerable", 0.2),  # rightly: p2 was never shown
        (["p1", "p2"], "not answerable", 0.5),  # wrongly
        (["p9"], "60", 0.0),
    ],
)
def test_visor_by_hand(pages: list[str], answer: str, expected: float) -> None:
    assert value(two_hop(pages, answer, pages), "visor") == pytest.approx(expected)


def test_an_unanswerable_question_is_right_when_said_so() -> None:
    asked = question((), answers=(), answerable=False)
    honest = episode(asked, answered("not answerable", searches("p1")), answer="not answerable")
    assert value(honest, "visor") == pytest.approx(1.5)
    assert value(replace(honest, answer="47"), "visor") == pytest.approx(0.5)


def test_vrag_by_hand() -> None:
    # gold p1 and p2 at ranks 1 and 3: (1 + 1/2) / (1 + 1/log2(3))
    ndcg = 1.5 / (1 + 0.6309297535714575)
    assert value(two_hop(["p1", "p9", "p2"], "59", []), "vrag") == pytest.approx(0.7 + 0.2 * ndcg + 0.1)
    assert value(two_hop(["p9"], "60", []), "vrag") == pytest.approx(0.1)


def test_a_preset_that_can_never_pay_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unidoc pays nothing while agent\.select_enabled"):
        check_reachable(resolve("unidoc"), AgentConfig())
    with pytest.raises(ConfigError, match=r"vrag pays nothing while agent\.search_enabled"):
        check_reachable(resolve("vrag"), AgentConfig(search_enabled=False))
    check_reachable(resolve("unidoc"), AgentConfig(select_enabled=True))
    check_reachable(resolve("vrag"), AgentConfig())


def candidates(*offers: tuple[Sequence[str], str | None], crops: Sequence[Box] = ()) -> list[Turn]:
    """Searches that offer candidates, each with the page then selected (None: not selected), then crops."""
    turns: list[Turn] = []
    for offered, picked in offers:
        turns.append(turn(len(turns) + 1, "search", text=f"query {len(turns)}", pages=offered, returned="candidates"))
        if picked is not None:
            turns.append(turn(len(turns) + 1, "select", pages=[picked], choice=1))
    for box in crops:
        turns.append(turn(len(turns) + 1, "crop", pages=["p1"], box=box))
    return turns


def unidoc(turns: Sequence[Turn], answer: str, boxes: Sequence[Box]) -> dict[str, float]:
    found = score(episode(question(("p1",), boxes=boxes), answered(answer, turns, index=20), answer=answer), "unidoc")
    assert found.reward is not None
    return {**found.rewards, "reward": found.reward}


def test_unidoc_by_hand() -> None:
    turns = candidates((["p2", "p1", "p3"], "p1"), crops=[PANEL])
    found = unidoc(turns, "47", [PANEL])
    ndcg = 0.6309297535714575
    assert found["candidate_ndcg"] == pytest.approx(ndcg)
    assert (found["selection"], found["crop"], found["answer"]) == (1.0, 1.0, 1.0)
    assert found["reward"] == pytest.approx(0.1 + 0.1 * ndcg + 0.1 + 0.1 + 0.6)


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        ([(["p2", "p1"], "p1")], 1.0),
        ([(["p2", "p1"], "p2")], 0.0),
        # no gold offered: the top-ranked one counts
        ([(["p2", "p3"], "p2")], 1.0),
        ([(["p2", "p3"], "p3")], 0.0),
        # gold offered once and picked, then a search without gold: the top-ranked pick neither earns nor costs
        ([(["p1", "p2"], "p1"), (["p4", "p5"], "p4")], 1.0),
        ([(["p1", "p2"], "p2"), (["p4", "p5"], "p4")], 0.0),
        ([(["p1", "p2"], "p1"), (["p4", "p5"], "p5")], 0.5),
        # gold offered and left is a miss, and a top-ranked pick elsewhere does not make up for it
        ([(["p1", "p2"], None)], 0.0),
        ([(["p1", "p2"], None), (["p4", "p5"], "p4")], 0.0),
        ([(["p1", "p2"], None), (["p1", "p3"], "p1")], 0.5),
        # nothing to pick: as good as the top-ranked pick of a search in vain
        ([(["p4", "p5"], None)], 1.0),
        ([], 1.0),
    ],
)
def test_selection_by_hand(offers: list[tuple[list[str], str | None]], expected: float) -> None:
    assert unidoc(candidates(*offers), "47", [])["selection"] == expected


FAR = Box(0.6, 0.6, 0.9, 0.9)
HALF = Box(0.1, 0.1, 0.4, 0.25)
NEAR = Box(0.1, 0.1, 0.4, 0.38)


@pytest.mark.parametrize(
    ("made", "needed", "expected"),
    [
        ([], [], 1.0),
        ([PANEL], [], 0.0),
        ([], [PANEL], 0.0),
        ([PANEL], [PANEL], 1.0),
        ([HALF], [PANEL], 1.0),  # IoU exactly 0.5 counts
        ([FAR], [PANEL], 0.0),
        ([PANEL, FAR], [PANEL], 2 / 3),
        ([PANEL], [PANEL, FAR], 2 / 3),
        ([PANEL, PANEL], [PANEL], 2 / 3),  # a gold box counts once
        ([PANEL], [PANEL, NEAR], 1.0),  # one crop may match several gold boxes
    ],
)
def test_crop_by_hand(made: list[Box], needed: list[Box], expected: float) -> None:
    assert unidoc(candidates(crops=made), "47", needed)["crop"] == pytest.approx(expected)


def test_a_fact_legible_on_its_page_needs_no_crop() -> None:
    legible = replace(STAFF, needs_crop=False)
    asked = question(("p1",), facts=(legible,))
    read, cropped = searches("p1"), [*searches("p1"), turn(2, "crop", pages=["p1"], box=PANEL)]
    assert components(episode(asked, answered("47", read)), NOTHING)["crop"] == 1.0
    assert components(episode(asked, answered("47", cropped)), NOTHING)["crop"] == 0.0


def test_candidate_ndcg_compares_pages_not_characters() -> None:
    """UniDoc-RL's released code sorts the characters of page names, so that its term is always 0."""
    first = episode(question(("p1",)), candidates((["p1", "p2", "p3"], None)))
    third = episode(question(("p1",)), candidates((["p2", "p3", "p1"], None)))
    assert candidate_ndcg(first, NOTHING) == 1.0
    assert candidate_ndcg(third, NOTHING) == pytest.approx(0.5)
    repeated = episode(question(("p1",)), candidates((["p2", "p3", "p1"], None), (["p1", "p2", "p3"], None)))
    assert candidate_ndcg(repeated, NOTHING) == pytest.approx(0.5)


def test_nano_by_hand() -> None:
    def read(answer: str, *texts: tuple[str, str]) -> float:
        base = two_hop(["p1", "p2"], answer, [])
        return value(replace(base, evidence=tuple(entry(i, p, t) for i, (p, t) in enumerate(texts, 1))), "nano")

    staff, sales = ("p1", "acme staff q3 47"), ("p2", "acme sales q1 12")
    assert read("59", staff, sales) == pytest.approx(0.4 + 0.6 + 0.2)
    assert read("59", staff) == pytest.approx(0.4 + 0.3 + 0.1)
    assert read("60", staff) == pytest.approx(0.1)
    assert read("59") == pytest.approx(0.4)
    # right text, wrong page
    assert read("60", ("p2", "acme staff q3 47")) == 0.0


def test_perception_needs_labels_in_the_region_looked_at() -> None:
    def perceived(*entries: tuple[str, Box | None]) -> float:
        ledger = [entry(i, "p1", text, box=box) for i, (text, box) in enumerate(entries, 1)]
        return components(episode(question(), [], evidence=ledger), LEGIBLE)["perception"]

    left = Box(0.0, 0.0, 0.5, 0.5)
    assert perceived(("acme q3 47", left)) == 1.0
    assert perceived(("acme q3 47 and q1 12", None)) == 1.0
    # 12 stands on the page, but not in the region looked at
    assert perceived(("acme q1 12", left)) == 0.0
    assert perceived(("q3 47, q1 12", left)) == 0.0
    # the wrong label
    assert perceived(("q1 47", None)) == 0.0
    # the same reading twice counts once
    assert perceived(("q3 47", left), ("q3 47", left), ("q3 99", left)) == 0.0
    # in whatever words, and from the page as from its part
    assert perceived(("q3 47", left), ("q3 is 47", left), ("see q3 47", None), ("q3 99", left)) == 0.0
    assert perceived(("q1 12", left), ("q1 12", None)) == 1.0
    assert perceived(("q3 47, q1 12", None), ("q3 99", left)) == pytest.approx(1 / 3)
    # pasting all numbers of the page
    assert perceived(("47 12", None)) == 0.0
    assert perceived(("12 47 12 47 99", None)) == 0.0


def test_perception_earns_on_gold_pages_only() -> None:
    """Otherwise the pages of a useless search, copied, would make up for what was misread."""
    misread = [entry(1, "p1", "q3 47"), entry(2, "p1", "q1 99")]
    copied = [entry(3, "p9", "q3 47, q1 12")]
    for ledger, expected in ((misread, 0.0), ([*misread, *copied], 0.0), (misread[:1] + copied, 1.0), (copied, 0.0)):
        assert components(episode(question(), [], evidence=ledger), LEGIBLE)["perception"] == expected
    assert components(episode(question(), [], evidence=[entry(1, "p9", "q1 99")]), LEGIBLE)["perception"] == 0.0


def test_perception_is_added_by_its_weight() -> None:
    read = replace(two_hop(["p1"], "59", []), evidence=(entry(1, "p1", "q3 47, q1 12"), entry(2, "p1", "q3 99")))
    assert value(read, "answer_only", perception=0.5) == pytest.approx(1 + 0.5 / 3)
    assert value(read, "answer_only") == 1.0


def test_evidence_facts_without_gold_facts_are_worth_nothing() -> None:
    """Where nothing could be recorded nothing was: the nano preset must not pay its share of facts for it."""
    plain = episode(question(("p1",)), answered("47", searches("p1")), answer="47")
    assert components(plain, NOTHING)["evidence_facts"] == 0.0
    assert value(plain, "nano") == pytest.approx(0.4)


def test_pasting_numbers_does_not_record_facts() -> None:
    base = two_hop(["p1", "p2"], "60", [])
    pasted = [entry(1, "p1", "acme staff 12 33 47 59"), entry(2, "p2", "acme sales 12 33 47 59")]
    assert value(replace(base, evidence=tuple(pasted)), "nano") == 0.0
    shotgun = [entry(1, "p1", "acme staff q3 12 q3 33 q3 47")]
    assert value(replace(base, evidence=tuple(shotgun)), "nano") == 0.0


def test_citations_and_perception_are_added_on_demand() -> None:
    cited = replace(two_hop(["p1"], "59", []), citations=episode(question(), [], cited=["p1"]).citations)
    assert value(cited, "answer_only", citation=0.5) == pytest.approx(1 + 0.5 * 2 / 3)


def test_judge_replaces_the_rule() -> None:
    wrong = two_hop(["p1"], "sixty", [])
    judged = score(wrong, "answer_only", RewardContext(judge=lambda asked, given: 0.75))
    assert judged.reward == 0.75


@given(st.fixed_dictionaries({name: st.floats(0, 1) for name in COMPONENTS}), st.sampled_from(sorted(PRESETS)))
def test_no_rollout_earns_more_than_the_highest(values: dict[str, float], name: str) -> None:
    preset = resolve(name, {"perception": 0.5})
    assert combine(preset, {**values, "format": 1.0}) <= highest(preset) + 1e-9


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose one of"):
        resolve("best")
    with pytest.raises(ConfigError, match="no weight of vrag"):
        resolve("vrag", {"crop": 1.0})
    with pytest.raises(ConfigError, match="negative"):
        resolve("vrag", {"answer": -1.0})


PAGES = ("p1", "p2", "p3", "p4", "p5", "p6")


@st.composite
def rollouts(draw: st.DrawFn) -> Trajectory:
    """Any rollout of a two-hop question: searches (with selection or not), crops, ledger, answer, form."""
    asked = question(
        draw(st.sampled_from([(), ("p1",), ("p1", "p2")])),
        answers=("59",),
        facts=draw(st.sampled_from([(), (STAFF,), (STAFF, SALES)])),
        boxes=draw(st.sampled_from([(), (PANEL,)])),
        answerable=draw(st.booleans()),
    )
    turns: list[Turn] = []
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            turns.append(
                turn(len(turns) + 1, "search", text=draw(st.sampled_from("abc")), pages=[draw(st.sampled_from(PAGES))])
            )
        else:
            offered = draw(st.lists(st.sampled_from(PAGES), min_size=1, max_size=3, unique=True))
            turns.append(turn(len(turns) + 1, "search", text="c", pages=offered, returned="candidates"))
            if draw(st.booleans()):
                turns.append(turn(len(turns) + 1, "select", pages=[draw(st.sampled_from(offered))]))
    for box in draw(st.lists(st.sampled_from([PANEL, FAR]), max_size=2)):
        turns.append(turn(len(turns) + 1, "crop", pages=["p1"], box=box))
    answer = draw(st.sampled_from(["59", "60", "not answerable", ""]))
    turns.append(turn(len(turns) + 1, "answer", text=answer, well_formed=draw(st.booleans())))
    ledger = [
        entry(i, page, draw(st.sampled_from(["seen", "acme staff q3 47", "acme sales q1 12"])))
        for i, page in enumerate(draw(st.lists(st.sampled_from(PAGES), max_size=4)), start=1)
    ]
    return episode(
        asked, turns, answer=answer, evidence=ledger, cited=draw(st.lists(st.sampled_from(PAGES), max_size=2))
    )


Useless = Literal["repeat", "exhausted", "page", "left", "top", "lower"]


def useless(
    trajectory: Trajectory, kind: Useless, place: int = 99, pages: Sequence[str] = ("z1", "z2"), noted: str = ""
) -> Trajectory:
    """The same rollout with one more search that brings no gold page, `place` turns from the start.

    It repeats a query, finds nothing any more, shows a page, or offers candidates of which none, the top-ranked or
    another one is picked; never between candidates and their selection. `noted` enters the ledger for its first page.
    """
    queries = [t.action.text for t in trajectory.turns if t.action.kind == "search"]
    query = queries[0] if kind == "repeat" and queries else "something else"
    if kind in ("repeat", "page"):
        more = [turn(50, "search", text=query, pages=pages[:1])]
    elif kind == "exhausted":
        more = [turn(50, "search", text=query)]
    else:
        more = [turn(50, "search", text=query, pages=pages, returned="candidates")]
        if kind != "left":
            more.append(turn(51, "select", pages=[pages[0] if kind == "top" else pages[-1]]))
    place = min(place, len(trajectory.turns) - 1)
    while trajectory.turns[place].action.kind == "select":
        place -= 1
    turns = [*trajectory.turns[:place], *more, *trajectory.turns[place:]]
    added = [entry(len(trajectory.evidence) + 1, pages[0], noted)] if noted and kind != "exhausted" else []
    return replace(trajectory, turns=tuple(turns), evidence=(*trajectory.evidence, *added))


@settings(max_examples=150, deadline=None)
@given(good=rollouts(), bad=rollouts())
def test_no_malformed_rollout_outranks_a_well_formed_one(good: Trajectory, bad: Trajectory) -> None:
    good = replace(good, turns=tuple(replace(t, action=replace(t.action, well_formed=True)) for t in good.turns))
    broken = replace(bad.turns[0], action=replace(bad.turns[0].action, well_formed=False))
    bad = replace(bad, turns=(broken, *bad.turns[1:]))
    for preset in PRESETS:
        assert value(bad, preset) <= value(good, preset)


@st.composite
def drawn_weights(draw: st.DrawFn) -> dict[str, dict[str, float]]:
    """Every weight of every preset, `perception` and `citation` among them."""
    names = {name: [*preset.weights, "perception", "citation"] for name, preset in PRESETS.items()}
    return {
        name: {key: draw(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0])) for key in keys} for name, keys in names.items()
    }


@settings(max_examples=200, deadline=None)
@given(rollout=rollouts(), weights=drawn_weights(), data=st.data())
def test_one_more_useless_search_never_raises_a_reward(
    rollout: Trajectory, weights: dict[str, dict[str, float]], data: st.DataObject
) -> None:
    """Wherever it comes, whatever pages it shows again, whatever it writes down, however the preset is weighed; but
    for the search that opens a preset's gate, before which it pays nothing."""
    gold = {*rollout.question.gold_pages, *(fact.page_id for fact in rollout.question.gold_facts)}
    others = [page for page in ("z1", "z2", *PAGES) if page not in gold]
    for _ in range(data.draw(st.integers(1, 4))):
        kind: Useless = data.draw(st.sampled_from(get_args(Useless)))
        pages = data.draw(st.lists(st.sampled_from(others), min_size=2, max_size=3, unique=True))
        noted = data.draw(st.sampled_from(["", "seen", "q3 47, q1 12", "q3 99", "acme staff q3 47"]))
        longer = useless(rollout, kind, data.draw(st.integers(0, 8)), pages, noted)
        known = components(rollout, LEGIBLE)
        for name, preset in PRESETS.items():
            if all(known[gate] for gate in preset.gates):
                before, after = value(rollout, name, **weights[name]), value(longer, name, **weights[name])
                assert after <= before + 1e-12, (name, kind)
        rollout = longer


@pytest.mark.parametrize("kind", get_args(Useless))
@pytest.mark.parametrize("answer", ["59", "60", "not answerable"])
def test_nor_does_the_first_search_of_an_episode_but_where_it_opens_a_gate(kind: Useless, answer: str) -> None:
    silent = two_hop([], answer, [])
    for preset in PRESETS.values():
        if not preset.gates:
            assert value(useless(silent, kind), preset.name) <= value(silent, preset.name), preset.name


def test_repeated_queries_are_in_excess() -> None:
    same = [turn(i, "search", text="Acme  staff", pages=[f"p{i}"]) for i in (1, 2, 3)]
    assert excess_searches(episode(question(("p1", "p2", "p3", "p4")), same)) == 1
    assert excess_searches(episode(question(("p1",)), same)) == 1
    assert excess_searches(episode(question(("p1",)), same[:2])) == 0


def test_many_searches_cost_everything_and_no_more() -> None:
    fourteen = episode(question(("p1",)), searches(*(f"p{i}" for i in range(1, 15))))
    assert excess_searches(fourteen) == 12
    assert search_economy(fourteen, NOTHING) == 0.0


def test_a_question_of_more_hops_than_gold_pages_may_search_once_a_hop() -> None:
    asked = replace(question(("p1",)), hops=3)
    assert excess_searches(episode(asked, searches("p1", "p2", "p3", "p4"))) == 0
    assert excess_searches(episode(asked, searches("p1", "p2", "p3", "p4", "p5"))) == 1


def test_turn_rewards_by_hand() -> None:
    asked = question(("p1",), facts=(STAFF,))
    turns = [
        turn(1, "search", text="a", pages=["p2"]),
        turn(2, "search", text="b", pages=["p1"]),
        turn(3, "search", text="c", pages=["p1"]),
        turn(4, "crop", pages=["p1"], box=FAR),
        turn(5, "crop", pages=["p1"], box=PANEL),
        turn(6, "invalid", well_formed=False),
        turn(7, "answer", text="47"),
    ]
    found = turn_rewards(episode(asked, turns, answer="47"), NOTHING)
    assert found == {1: 0.0, 2: 1.0, 3: 0.0, 4: 0.0, 5: 1.0, 6: 0.0, 7: 1.0}


def test_turn_rewards_of_selections_and_of_a_malformed_turn_by_hand() -> None:
    asked = question(("p1",))
    turns = [
        *candidates((["p2", "p1"], "p1"), (["p3", "p1"], "p3"), (["p4", "p5"], "p4"), (["p4", "p5"], "p5")),
        turn(9, "search", text="e", pages=["p1"], well_formed=False),
        turn(10, "answer", text="47", well_formed=False),
    ]
    found = turn_rewards(episode(asked, turns, answer="47"), NOTHING)
    # A search earns once for a gold page; a pick of gold, of another page, and without gold of the first and second.
    assert found == {1: 1.0, 2: 1.0, 3: 0.0, 4: 0.0, 5: 0.0, 6: 1.0, 7: 0.0, 8: 0.0, 9: 0.0, 10: 0.0}
    fresh = [turn(1, "search", pages=["p1"], well_formed=False), turn(2, "answer", text="47", well_formed=True)]
    assert turn_rewards(episode(asked, fresh, answer="47"), NOTHING) == {1: 0.0, 2: 1.0}


def test_sections_of_tokens() -> None:
    pieces = ["<think>", " acme", " 47", "</think>", "<se", "arch>", "staff", "</search>", "<end>"]
    assert token_sections(pieces) == ["think"] * 4 + ["search"] * 4 + ["other"]
    # an unfinished section runs to the end; empty pieces belong nowhere
    assert token_sections(["<think>", "", "a"]) == ["think", "other", "think"]
    # a tag in the prompt opens the section of a forced answer
    assert token_sections(["4", "7", "</answer>", "<end>"], "<answer>") == ["answer"] * 3 + ["other"]
    assert token_sections(["4", "7"], "<think> out of turns </think><answer>") == ["answer"] * 2


@given(st.lists(st.text(alphabet="<>/thinksearch ab", max_size=8), max_size=12))
def test_every_token_has_a_section(pieces: list[str]) -> None:
    assert len(token_sections(pieces)) == len(pieces)
