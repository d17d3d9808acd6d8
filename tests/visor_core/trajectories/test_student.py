"""A teacher's episodes in the student's frame: boxes, sizes and contexts are the student's, and come back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.visor_core.agent.small_index import SmallIndex, pages_of
from visor_core.agent.actions import parse, with_box
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig, ImageConfig
from visor_core.policies.base import Completion
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question
from visor_core.trajectories.replay import rebuild
from visor_core.trajectories.student import DIFFERENT, as_student, for_student

INDEX = SmallIndex(pages_of("acme staff 47 people", "acme staff 48"))
STUDENT = AgentConfig.model_validate({"crop": {"blank_std": 0}})
TEACHER = STUDENT.model_copy(
    update={"coordinates": "thousand", "image": ImageConfig(multiple=32, pixels_per_token=1024)}
)


def played(config: AgentConfig, *replies: str) -> Trajectory:
    """One episode of these replies under a configuration."""
    remaining = iter(replies)
    policy = ScriptedPolicy(lambda prompt: next(remaining))
    return run_reference(Environment(INDEX, config), policy, [Question("q", "acme staff", ("47",))])[0]


def episode(box: str, config: AgentConfig = TEACHER) -> Trajectory:
    return played(
        config,
        "<think>start</think><search>acme staff</search>",
        f"<think>the small print at [1,2,3,4]</think><verdict>keep</verdict>\n<bbox>{box}</bbox>",
        "<think>47 people</think><verdict>keep</verdict><answer>47 [2]</answer>",
    )


@pytest.mark.parametrize("box", ["[500,300,900,600]", '[{"bbox_2d": [500, 300, 900, 600], "label": "row 5"}]'])
def test_a_teachers_thousandths_become_the_students_pixels(box: str) -> None:
    seen = episode(box)
    found = as_student(seen, Environment(INDEX, STUDENT))
    assert found is not None
    page = found.turns[0].observation.images[0]
    assert (page.width, page.height) == (532, 700)  # multiples of 28; the teacher's was of 32
    assert (seen.turns[0].observation.images[0].width, seen.turns[0].observation.images[0].height) == (544, 704)
    # Half of 532 is 266, three tenths of 700 are 210, …
    assert found.turns[1].completion.text == (
        "<think>the small print at [1,2,3,4]</think><verdict>keep</verdict>\n<bbox>[266,210,479,420]</bbox>"
    )
    assert found.turns[1].action.box == (266, 210, 479, 420)
    assert (found.answer, found.outcome, found.well_formed) == ("47", "answered", True)
    assert found.evidence[1].box == found.turns[1].observation.images[0].box
    assert found.citations[0].box == found.evidence[1].box
    # The contexts are the student's own: they rebuild from the record, and say the student's frame.
    assert rebuild(found) == [turn.prompt for turn in found.turns]
    assert "in pixels of the page image as shown" in str(found.turns[0].prompt.messages[0].content[0])
    assert "(532 × 700 pixels)" in str(found.turns[1].prompt.messages[-1].content)


@given(st.integers(0, 700), st.integers(0, 700), st.integers(40, 280), st.integers(40, 280))
@settings(max_examples=30, deadline=None)
def test_there_and_back_within_a_unit(x: int, y: int, width: int, height: int) -> None:
    corners = (x, y, x + width, y + height)
    seen = episode(str(list(corners)))
    there = as_student(seen, Environment(INDEX, STUDENT))
    assert there is not None
    back = as_student(there, Environment(INDEX, TEACHER))
    assert back is not None
    box = back.turns[1].action.box
    assert box is not None
    # Half a pixel of 532 is 0.94 thousandths.
    assert all(abs(a - b) <= 1 for a, b in zip(box, corners, strict=True))
    shown, wanted = there.turns[1].observation.images[0].box, seen.turns[1].observation.images[0].box
    # Padding is 28 pixels of the page as shown, and the two are shown at other sizes.
    assert all(abs(a - b) < 0.006 for a, b in zip(shown.as_tuple(), wanted.as_tuple(), strict=True))
    assert [turn.prompt.images for turn in back.turns][:2] == [turn.prompt.images for turn in seen.turns][:2]


def test_what_the_students_units_cannot_hold_is_left_out_and_counted() -> None:
    grid = STUDENT.model_copy(update={"coordinates": "grid10"})
    small = episode("[310,310,340,340]")
    found = for_student([small, episode("[500,300,900,600]")], Environment(INDEX, grid))
    assert [t.turns[1].action.box for t in found.kept] == [(5, 3, 9, 6)]
    assert found.rejected == {DIFFERENT: 1}


def test_a_malformed_episode_is_not_converted() -> None:
    loose = played(
        TEACHER,
        "<think>a</think><search>acme staff</search>",
        '<think>a</think>{"bbox_2d": [500, 300, 900, 600]}',
        "<think>47</think><answer>47</answer>",
    )
    assert loose.turns[1].observation.kind == "crop"
    assert as_student(loose, Environment(INDEX, STUDENT)) is None


def test_with_box_changes_the_action_alone() -> None:
    reply = with_box("<think>[1,2,3,4] <bbox>[1,2,3,4]</bbox></think><BBOX> {5 6 7 8} </bbox>\n", (9, 9, 19, 19))
    assert reply == "<think>[1,2,3,4] <bbox>[1,2,3,4]</bbox></think><BBOX>[9,9,19,19]</bbox>\n"
    assert parse(reply).box == (9, 9, 19, 19)
    assert Completion(reply).text == reply
