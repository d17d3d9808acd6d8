"""The nano world: same seed, same bytes; disjoint splits; nothing but titles in the text layer."""

from __future__ import annotations

from pathlib import Path

import pymupdf
import pytest
from pydantic import ValidationError

from tests.nano_setting import AGENT
from visor_core.agent.correction import frame_of, page_reference, page_region
from visor_core.config import NanoConfig
from visor_core.errors import ConfigError
from visor_core.nano.questions import OPERATIONS, ask_world, make_questions
from visor_core.nano.views import LEGIBLE_PIXELS, view_of
from visor_core.nano.world import COMPANIES, COVER, LABELS, TOPICS, World, write_world
from visor_core.scoring.crops import gold_regions

SMALL = NanoConfig(train_corpora=2, development_corpora=1, companies=3, topics=3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two small training corpora."""
    return write_world(tmp_path_factory.mktemp("world"), "train", SMALL, seed=3)


def test_the_same_seed_gives_the_same_bytes(world: World, tmp_path: Path) -> None:
    again = write_world(tmp_path, "train", SMALL, seed=3)
    assert [p.page_id for p in again.pages] == [p.page_id for p in world.pages]
    assert [f.read_bytes() for f in again.files] == [f.read_bytes() for f in world.files]
    assert len(world.files) == 6
    assert len(world.pages) == 6 * 4


def test_another_seed_and_another_split_share_no_document(world: World, tmp_path: Path) -> None:
    other_seed = write_world(tmp_path / "a", "train", SMALL, seed=4)
    development = write_world(tmp_path / "b", "development", SMALL, seed=3)
    ids = [{p.page_id.split("/")[0] for p in w.pages} for w in (world, other_seed, development)]
    assert not ids[0] & ids[1]
    assert not ids[0] & ids[2]
    assert not ids[1] & ids[2]


def test_the_text_layer_holds_titles_only(world: World) -> None:
    for page in world.pages:
        with pymupdf.open(world.folder / page.path) as document:
            words = document[page.page - 1].get_text().split()
        assert len(words) == 2
        assert words[0] == page.company
        assert (words[1] == page.topic) != page.damaged


def test_damaged_pages_look_like_sound_ones(tmp_path: Path) -> None:
    sound = write_world(tmp_path / "sound", "train", SMALL.model_copy(update={"damaged_titles": 0.0}), seed=3)
    damaged = write_world(tmp_path / "damaged", "train", SMALL.model_copy(update={"damaged_titles": 1.0}), seed=3)
    for a, b in zip(sound.files[:2], damaged.files[:2], strict=True):
        with pymupdf.open(a) as one, pymupdf.open(b) as other:
            for left, right in zip(one, other, strict=True):
                first, second = left.get_pixmap(dpi=72).samples, right.get_pixmap(dpi=72).samples
                different = sum(x != y for x, y in zip(first, second, strict=True)) / len(first)
                assert different < 0.02


def test_numbers_are_legible_in_the_tight_crop_only_unless_the_page_is_big(world: World) -> None:
    assert {p.layout for p in world.pages if p.panels} >= {"2x2", "big"}
    for page in world.pages:
        overview = {m.word for m in view_of(page).marks if m.head in ("tens", "ones")}
        assert bool(overview) == (page.legible and bool(page.panels))
        for panel in page.panels:
            marks = [m for m in view_of(page, panel.target).marks if m.head in ("tens", "ones")]
            values = {panel.value} if not page.legible else {p.value for p in page.panels}
            assert {m.word for m in marks} == {word for tens, ones in values for word in (f"{tens}.", f".{ones}")}
    assert LEGIBLE_PIXELS == 11.0


def test_targets_lie_on_the_grid_and_inside_their_page(world: World) -> None:
    for page in world.pages:
        for panel in page.panels:
            corners = [v * 10 for v in panel.target.as_tuple()]
            assert corners == pytest.approx([round(v) for v in corners])
            if not page.legible:
                assert panel.target.width == pytest.approx(0.3)
                assert panel.target.height == pytest.approx(0.3)


def test_too_many_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nano\.companies is at most 16"):
        write_world(tmp_path, "train", NanoConfig(companies=17), seed=0)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no split 'validation'"):
        write_world(tmp_path, "validation", SMALL, seed=3)


def test_names_do_not_collide() -> None:
    words = [*COMPANIES, *TOPICS, COVER, *LABELS, *OPERATIONS]
    assert len(set(words)) == len(words)


def test_questions_carry_gold_pages_boxes_and_facts(world: World) -> None:
    questions = make_questions(world, 40, seed=1, two_hop=0.5, operations=OPERATIONS)
    pages = {p.page_id: p for p in world.pages}
    assert len({q.question_id for q in questions}) == 40
    assert {q.partition for q in questions} == set(world.partitions)
    assert {q.hops for q in questions} == {1, 2}
    for question in questions:
        values = []
        for fact in question.gold_facts:
            page = pages[fact.page_id]
            panel = page.panel(fact.field)
            assert panel is not None
            assert page.partition == question.partition
            assert (fact.subject, fact.value, fact.box) == (page.title, panel.value, panel.target)
            values.append(int(fact.value))
        operation = question.question.split()[0]
        expected = {
            "higher": max(values),
            "sum": sum(values),
            "difference": max(values) - min(values),
        }.get(operation, values[0])
        assert question.answers == (str(expected),)
        assert question.gold_pages == tuple(f.page_id for f in question.gold_facts)


def test_crops_are_demanded_just_where_they_are_needed_and_allowed(tmp_path: Path) -> None:
    """A value legible on the whole page needs no crop, and asking for its panel would be refused as the whole page."""
    world = write_world(tmp_path, "train", SMALL.model_copy(update={"companies": 6}), seed=1)
    questions = make_questions(world, 60, seed=1, operations=OPERATIONS)
    legible = {page.page_id for page in world.pages if page.legible}
    size = (360.0, 360.0)
    demanded = 0
    for question in questions:
        for fact in question.gold_facts:
            frame = frame_of(page_reference(fact.page_id, size, AGENT.image), AGENT.coordinates)
            x0, y0, x1, y1 = frame.from_page(fact.box)
            fault = page_region((x0, y0, x1, y1), frame, size, AGENT.crop).fault
            wanted = [region for region in gold_regions(question) if region.page_id == fact.page_id]
            assert (bool(wanted), fault) == ((False, "whole page") if fact.page_id in legible else (True, ""))
            demanded += len(wanted)
        assert len(question.gold_boxes) == len(gold_regions(question))
    assert 0 < demanded < sum(len(question.gold_facts) for question in questions)


def test_the_configuration_names_the_operations(world: World) -> None:
    default = {q.question.split()[0] for q in ask_world(world, 30, SMALL, 0) if q.hops == 2}
    assert default == {"higher"}
    asked = ask_world(world, 30, SMALL.model_copy(update={"operations": ("sum", "difference")}), 0)
    assert {q.question.split()[0] for q in asked if q.hops == 2} == {"sum", "difference"}
    with pytest.raises(ValidationError, match="'higher', 'sum' or 'difference'"):
        NanoConfig(operations=("product",))  # type: ignore[arg-type]


def test_the_share_of_two_hop_questions_is_exact(world: World) -> None:
    for number, share, two_hop in ((40, 0.5, 20), (11, 0.5, 6), (10, 0.0, 0), (10, 1.0, 10)):
        questions = make_questions(world, number, seed=0, two_hop=share)
        assert sum(q.hops == 2 for q in questions) == two_hop


def test_more_questions_than_the_world_has_are_refused(world: World) -> None:
    with pytest.raises(ConfigError, match="no 5000 different questions"):
        make_questions(world, 5000, seed=0)


def test_questions_are_seeded(world: World) -> None:
    assert make_questions(world, 20, seed=1) == make_questions(world, 20, seed=1)
    assert make_questions(world, 20, seed=1) != make_questions(world, 20, seed=2)
