"""An episode as one picture: which three are shown, and that a crop is drawn on its page."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

from tests.visor_core.evaluation.episodes import QUESTION, episode, turn
from visor_core.agent.trajectory import Action, Observation, Trajectory
from visor_core.geometry import FULL_PAGE, Box
from visor_core.policies.base import ImageRef, Message, Prompt
from visor_core.trajectories.strip import draw_episode, three_samples

PAGE = ImageRef("aaaa/00001", 128, 128, FULL_PAGE)
CROP = ImageRef("aaaa/00001", 128, 128, Box(0.2, 0.2, 0.5, 0.5))


def _white(ref: ImageRef) -> Image.Image:
    return Image.new("RGB", (ref.width, ref.height), (250, 250, 250))


def _red(picture: Image.Image) -> int:
    """Pixels in the colour of crops."""
    pixels = np.asarray(picture).astype(int)
    return int(((abs(pixels - (214, 40, 40))).sum(axis=2) < 60).sum())


def _cropping(cropped: bool) -> Trajectory:
    seen = Prompt((Message("user", ("evidence", "page", PAGE, "question acme staff q3")),))
    crop = turn(1, Action("crop", box=(2, 2, 5, 5)), Observation("crop", (CROP,)) if cropped else Observation("retry"))
    base = episode("47")
    turns = (base.turns[0], dataclasses.replace(crop, prompt=seen), base.turns[2])
    return dataclasses.replace(base, turns=turns)


def test_the_crop_is_drawn_on_its_page() -> None:
    with_crop, without = (_red(draw_episode(_cropping(cropped), _white)) for cropped in (True, False))
    assert without == 0
    assert with_crop > 100


def test_any_text_can_be_drawn() -> None:
    question = dataclasses.replace(QUESTION, question="cost in $ and $ \\frac{1} <script>")
    strange = dataclasses.replace(episode("$5 $6 _{", question=question), answer="$x^$")
    assert draw_episode(strange, _white).width > 300


def test_three_telling_episodes_are_chosen() -> None:
    def named(name: str, answer: str, verdict: str | None = None) -> Trajectory:
        made = dataclasses.replace(episode(answer), trajectory_id=name)
        if verdict is None:
            return made
        judged = dataclasses.replace(made.turns[1], action=Action("crop", box=(0, 0, 3, 3), verdict="reject"))
        return dataclasses.replace(made, turns=(made.turns[0], judged, made.turns[2]))

    right = [named(f"r{i}", "47") for i in range(4)]
    rejecting, failed = named("x", "47", "reject"), named("z", "12")
    assert [t.trajectory_id for t in three_samples([failed, rejecting, *right])] == ["r0", "x", "z"]
    assert [t.trajectory_id for t in three_samples(right[:2])] == ["r0", "r1"]
    assert three_samples([]) == []
