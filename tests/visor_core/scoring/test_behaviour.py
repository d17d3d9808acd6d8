"""Behaviour, grounding and diagnosis of hand-worked episodes on a page of eight words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.visor_core.training.episodes import entry, episode, question, turn
from visor_core.agent.prompts import REFUSALS
from visor_core.agent.trajectory import Citation, EvidenceEntry, Observation, Trajectory
from visor_core.geometry import FULL_PAGE, Box, iou
from visor_core.questions import GOLD_DROPPED, Fact, Question
from visor_core.scoring.behaviour import REFUSED, Behaviour, behaviour, cited_regions
from visor_core.scoring.crops import Region
from visor_core.scoring.diagnosis import diagnose
from visor_core.scoring.facts import Word
from visor_core.scoring.lists import items_of
from visor_core.scoring.located import gold_boxes, holds, printed

P1: list[Word] = [
    ("Staff", 0.1, 0.1, 0.2, 0.12), ("of", 0.21, 0.1, 0.23, 0.12), ("Acme:", 0.24, 0.1, 0.32, 0.12),
    ("1,470", 0.4, 0.1, 0.5, 0.12),
    ("Ports", 0.1, 0.5, 0.2, 0.52), ("Kiel", 0.3, 0.5, 0.4, 0.52), ("and", 0.41, 0.5, 0.45, 0.52),
    ("Bad", 0.5, 0.5, 0.55, 0.52), ("Ems", 0.56, 0.5, 0.6, 0.52), ("5", 0.7, 0.9, 0.71, 0.92),
]  # fmt: skip
P2: list[Word] = [("Kiel", 0.3, 0.3, 0.4, 0.32)]
PAGES = {"p1": P1, "p2": P2}
KIEL, BAD_EMS = Box(0.3, 0.5, 0.4, 0.52), Box(0.5, 0.5, 0.6, 0.52)
STAFF = Box(0.4, 0.1, 0.5, 0.12)
NEAR = Box(0.38, 0.09, 0.52, 0.13)
"""Around the staff: area 0.14 × 0.04 against 0.1 × 0.02, an IoU of 0.36."""


def words(page_id: str) -> list[Word]:
    return PAGES.get(page_id, [])


def asked(answer: str = "1470", gold: tuple[str, ...] = ("p1",), **changes: object) -> Question:
    return replace(question(gold, answers=(answer,)), benchmark="mmlongbench", answer_format="Str", **changes)  # type: ignore[arg-type]


def played(
    given: Question, answer: str = "1470", *, box: Box | None = STAFF, observation: str = "the staff is 1,470"
) -> Trajectory:
    """Search p2, search p1, crop it, answer with the crop cited: each reading is noted by the reply that follows."""
    crop = [turn(3, "crop", pages=["p1"], box=box)] if box else []
    turns = [turn(1, "search", pages=["p2"]), turn(2, "search", pages=["p1"]), *crop, turn(9, "answer", text=answer)]
    notes = (
        entry(1, "p2", "ports"),
        EvidenceEntry(2, "p1", "p1.pdf", 1, observation, "post" if box else "pre", box=box),
    )
    shown = (Citation("p1", "p1.pdf", 1, box or FULL_PAGE),)
    return replace(episode(given, turns, answer=answer, evidence=notes), citations=shown)


def test_items_words_and_places() -> None:
    assert items_of("['Kiel', 'Bad Ems']") == ["Kiel", "Bad Ems"]
    assert items_of("[not a list") == ["[not a list"]
    assert items_of("[1, f(2)]") == ["[1, f(2)]"]
    assert holds("the staff is 1,470 people", "1470")
    assert not holds("1,470", "147")
    assert not holds("anything", "")
    (box,) = printed("bad ems", P1)
    assert box.as_tuple() == (0.5, 0.5, 0.6, 0.52)


@pytest.mark.parametrize(
    ("answer", "gold", "boxes"),
    [
        ("1470", ("p1",), [Region("p1", STAFF)]),
        ("['Kiel', 'Bad Ems']", ("p1",), [Region("p1", KIEL), Region("p1", BAD_EMS)]),
        ("Kiel", ("p1", "p2"), None),  # printed twice on the gold pages
        ("['Kiel', 'Rome']", ("p1",), None),  # one item is not printed
        ("5", ("p1",), None),  # a single digit stands anywhere
        ("1470", (), None),  # no gold page
    ],
)  # fmt: skip
def test_gold_boxes_are_located_where_the_answer_is_printed_once(
    answer: str, gold: tuple[str, ...], boxes: list[Region] | None
) -> None:
    assert gold_boxes(asked(answer, gold), words) == (tuple(boxes) if boxes else None)
    assert gold_boxes(asked(answer, gold), None) is None


def test_no_gold_box_where_gold_is_not_whole_or_there_is_none() -> None:
    assert gold_boxes(asked(metadata={GOLD_DROPPED: "page 0"}), words) is None
    assert gold_boxes(asked(answerable=False), words) is None
    annotated = asked(gold_boxes=(NEAR,))
    assert gold_boxes(annotated, words) == (Region("p1", NEAR),)


def test_an_episode_by_hand() -> None:
    found = behaviour(played(asked()), words)
    assert found == Behaviour(
        gold_complete=True, pages_kept=2, non_gold_kept=1, ledger_coverage=1.0, ledger_precision=0.5,
        chain_complete=True, first_query=False, gold_cited=1.0, cited_gold=1.0, answer_cited=1.0, citations_right=1.0,
        gold_boxes=1, boxes_matched=1.0, box_f1=1.0, boxes_held=1.0,
        crops_judged=1, crops_rejected=0, boxes_refused=0, readings_saved=0,
    )  # fmt: skip


def test_boxes_by_hand() -> None:
    """One of two gold boxes matched by one of two cited ones: recall 1/2, precision 1/2, F1 1/2."""
    given = asked("['1470', 'Bad Ems']")
    wrong = Box(0.1, 0.8, 0.2, 0.9)
    found = replace(
        played(given, "['1470', 'Bad Ems']"),
        citations=(Citation("p1", "p1.pdf", 1, STAFF), Citation("p1", "p1.pdf", 1, wrong)),
    )
    got = behaviour(found, words)
    assert (got.gold_boxes, got.boxes_matched, got.box_f1, got.boxes_held) == (2, 0.5, 0.5, 0.5)
    # the answer has two items, one of which stands in a cited region; one of two regions holds an item
    assert (got.answer_cited, got.citations_right) == (0.5, 0.5)
    assert iou(NEAR, STAFF) == pytest.approx(0.002 / 0.0056)
    near = behaviour(played(asked(), box=NEAR), words)
    assert (near.boxes_matched, near.box_f1, near.boxes_held) == (0.0, 0.0, 1.0)


def test_cited_boxes_are_those_asked_for_not_the_padded_ones() -> None:
    crop = turn(2, "crop", pages=["p1"], box=NEAR)
    # The page is 64 pixels wide and high as it was shown (IMAGE_SIZE), and boxes are in pixels.
    size = turn(1, "search", pages=["p1"]).observation.images[0].width
    chosen = (0.4 * size, 0.1 * size, 0.5 * size, 0.12 * size)
    crop = replace(crop, action=replace(crop.action, box=chosen))
    turns = [turn(1, "search", pages=["p1"]), crop, turn(3, "answer", text="1470")]
    found = replace(episode(asked(), turns, answer="1470"), citations=(Citation("p1", "p1.pdf", 1, NEAR),))
    wanted, shown = cited_regions(found)
    assert shown == [Region("p1", NEAR)]
    assert wanted[0].box.as_tuple() == pytest.approx(STAFF.as_tuple())


def test_what_is_not_known_is_none_and_never_nought() -> None:
    dropped = behaviour(played(asked(metadata={GOLD_DROPPED: "page 0"})), words)
    unknown = (dropped.gold_complete, dropped.non_gold_kept, dropped.ledger_coverage, dropped.chain_complete)
    assert unknown == (None, None, None, None)
    assert (dropped.gold_cited, dropped.cited_gold, dropped.first_query, dropped.boxes_matched) == (None,) * 4
    computed = behaviour(played(asked("1471"), "1471"), words)  # printed nowhere: in a picture, or computed
    assert (computed.answer_cited, computed.citations_right, computed.box_f1) == (None, None, None)
    refused = behaviour(played(asked(), "not answerable"), words)
    assert (refused.answer_cited, refused.citations_right) == (None, None)
    without = behaviour(replace(played(asked()), config='{"evidence": {"enabled": false}}'), words)
    assert (without.ledger_coverage, without.ledger_precision) == (None, None)
    unworded = behaviour(played(asked()))
    assert (unworded.answer_cited, unworded.boxes_matched, unworded.gold_complete) == (None, None, True)


def test_corrections_by_hand() -> None:
    """Two crops shown, one judged bad with an earlier reading kept; a third box refused unseen."""
    turns = [
        turn(1, "search", pages=["p1"]),
        turn(2, "crop", pages=["p1"], box=NEAR), turn(3, "crop", pages=["p1"], box=STAFF),
        replace(turn(4, "crop"), observation=Observation("retry", fault="repeat")), turn(5, "answer", text="1470"),
    ]  # fmt: skip
    notes = (entry(1, "p1", "staff 1470"), EvidenceEntry(2, "p1", "p1.pdf", 1, "blurred", "rejected", box=NEAR))
    found = behaviour(episode(asked(), turns, answer="1470", evidence=notes), words)
    counts = (found.crops_judged, found.crops_rejected, found.boxes_refused, found.readings_saved)
    assert counts == (2, 1, 1, 1)


def test_the_refusals_are_those_of_the_environment() -> None:
    assert REFUSED == REFUSALS


def test_the_nano_world_knows_where_its_answers_stand() -> None:
    fact = Fact("acme staff", "q3", "47", "p1", STAFF)
    given = replace(question(answers=("47",), facts=[fact]), benchmark="nano")
    found = behaviour(played(given, "47"), lambda page_id: ())
    assert (found.answer_cited, found.citations_right, found.boxes_matched) == (1.0, 1.0, 1.0)


READ = "the staff is 1,470"


@pytest.mark.parametrize(
    ("miss", "turn_number", "found"),
    [
        ("not answered in form", 4, played(asked(), "about 1,470 people")),
        ("not answered in form", 4, played(asked(), "")),  # all was read, no answer came
        ("not found", 2, played(asked(gold=("p1", "p3")), "12")),
        ("not read", 4, played(asked(), "12", observation="the staff is large")),
        ("not reasoned", 4, played(asked(), "12", observation=READ)),
        ("not reasoned", 4, played(asked(), "not answerable", observation=READ)),
        ("not reasoned", 4, played(asked("Not answerable", (), answerable=False), "12")),
        # an answer that is printed nowhere: a gold page with a reading was read, one without was not
        ("not reasoned", 4, played(asked("1471"), "12", observation="")),
        # gold pages not known: by the words of the gold answer
        ("not reasoned", 4, played(asked(gold=()), "12", observation=READ)),
        ("not read", 4, played(asked(gold=()), "12", observation="the staff is large")),
        ("not found", 2, played(asked("Rome", ()), "12")),
    ],
)
def test_every_miss_has_one_diagnosis(miss: str, turn_number: int, found: Trajectory) -> None:
    diagnosis = diagnose(found, words)
    assert diagnosis is not None
    assert (diagnosis.miss, diagnosis.turn) == (miss, turn_number)


def test_what_was_never_shown_legibly_was_not_seen() -> None:
    """A line of 0.02 of a page shown 64 pixels high is 1.3 pixels: only a crop shows it."""
    shown = played(asked(), "12", box=None)
    diagnosis = diagnose(shown, words)
    assert diagnosis is not None
    assert (diagnosis.miss, diagnosis.turn, diagnosis.page_id) == ("not seen", 3, "p1")
    large = [
        replace(
            t, observation=replace(t.observation, images=tuple(replace(i, height=800) for i in t.observation.images))
        )
        for t in shown.turns
    ]  # 16 pixels
    legible = diagnose(replace(shown, turns=tuple(large)), words)
    assert legible is not None
    assert legible.miss == "not reasoned"
    beside = diagnose(played(asked(), "12", box=Box(0.5, 0.6, 0.9, 0.9)), words)
    assert beside is not None
    assert beside.miss == "not seen"


def test_facts_say_what_was_read() -> None:
    fact = Fact("acme staff", "q3", "47", "p1", STAFF)
    given = replace(question(answers=("47",), facts=[fact]), benchmark="nano")
    said = {
        observation: diagnose(played(given, "12", observation=observation))
        for observation in ("acme staff q3 47", "no")
    }
    assert [d.miss if d else "" for d in said.values()] == ["not reasoned", "not read"]


def test_no_diagnosis_of_what_is_no_miss() -> None:
    assert diagnose(played(asked()), words) is None
    assert diagnose(replace(played(asked(), "12"), outcome="error"), words) is None
    assert diagnose(played(replace(asked(), benchmark="vidoseek"), "12"), words) is None
