"""The page of one miss: the turn in which an answer went wrong beside the gold page with the gold box and the crops.

One self-contained file like the episode viewer's, whose parts it is made of: every text is escaped, nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from visor_core.agent.trajectory import Trajectory, Turn
from visor_core.policies.base import ImageLoader, ImageRef
from visor_core.scoring.crops import Region
from visor_core.scoring.diagnosis import Diagnosis
from visor_core.trajectories import viewer_page
from visor_core.trajectories.viewer_pictures import Mark, Pictures, whole_page

WIDTH = 900
"""Pixels of width at which a gold page is drawn that the episode never showed."""


def diagnosis_html(
    episode: Trajectory,
    diagnosis: Diagnosis | None,
    boxes: Sequence[Region],
    images: ImageLoader,
    names: dict[str, str],
    sizes: dict[str, tuple[float, float]],
) -> str:
    """The page of a question.

    Args:
        diagnosis: why the answer is wrong; none of an answer that is right or was not judged.
        boxes: the gold boxes that are known.
        images: draws pages and crops.
        names: what gold pages are called, by id.
        sizes: their width and height in points, by id.
    """
    pictures = Pictures(images)
    gold = [_gold_page(episode, page_id, boxes, pictures, names, sizes) for page_id in _gold_pages(episode, boxes)]
    beside = "".join(gold) or '<p class="note">The gold pages of this question are not known.</p>'
    turn = _turn(episode, diagnosis, pictures)
    body = (
        f'<div class="eyebrow">VISOR diagnosis</div><h1><bdi>{escape(episode.question.question)}</bdi></h1>'
        f"{_verdict(episode, diagnosis)}"
        f'<div class="card" style="margin-top:18px"><div class="grid"><div>{turn}</div>'
        f'<div><div class="head"><b>Gold</b></div><div class="pics many">{beside}</div></div></div></div>'
    )
    return viewer_page.page(f"Diagnosis: {episode.question.question}", body, style=pictures.style)


def _verdict(episode: Trajectory, diagnosis: Diagnosis | None) -> str:
    """The answer beside the gold, and what went wrong."""
    said = episode.answer or "no answer"
    gold = " · ".join(episode.question.answers)
    chip = (
        f'<span class="chip bad">{escape(diagnosis.miss)}</span>' if diagnosis else '<span class="chip">no miss</span>'
    )
    why = f'<p class="note">{escape(diagnosis.said)}</p>' if diagnosis else ""
    return (
        f'<div class="card"><div class="head"><b>Answer</b>{chip}</div>'
        f'<div class="answer"><bdi>{escape(said)}</bdi></div>'
        f'<span class="note">expected <bdi>{escape(gold)}</bdi></span>{why}</div>'
    )


def _turn(episode: Trajectory, diagnosis: Diagnosis | None, pictures: Pictures) -> str:
    """The turn: what was written, and the last picture it was written about."""
    if not episode.turns:
        return '<p class="note">The episode has no turn.</p>'
    number = diagnosis.turn if diagnosis else len(episode.turns)
    turn = episode.turns[number - 1]
    before = next((t for t in reversed(episode.turns[: number - 1]) if t.observation.images), None)
    seen = "".join(_seen(image, before, pictures) for image in before.observation.images[:3]) if before else ""
    picture = f'<div class="pics many">{seen}</div>' if seen else '<p class="note">Nothing had been shown yet.</p>'
    return (
        f'<div class="head"><b>Turn {number} of {len(episode.turns)}</b>'
        f'<span class="chip act">{escape(turn.action.kind)}</span></div>'
        f'<p class="think t">{escape(turn.action.thought or "no thought")}</p>'
        f'<p class="says"><bdi>{escape(_action(turn))}</bdi></p>{picture}'
    )


def _seen(image: ImageRef, turn: Turn, pictures: Pictures) -> str:
    caption = f"what it had been shown last ({turn.observation.kind}), at {image.width} × {image.height}"
    return pictures.figure(image, caption, max_width=380)


def _action(turn: Turn) -> str:
    if turn.action.box is not None:
        return f"look at [{', '.join(f'{value:g}' for value in turn.action.box)}]"
    return f"candidate {turn.action.choice}" if turn.action.kind == "select" else turn.action.text


def _gold_pages(episode: Trajectory, boxes: Sequence[Region]) -> list[str]:
    """Gold pages, those with a box first."""
    named = [box.page_id for box in boxes if box.page_id]
    return list(dict.fromkeys([*named, *episode.question.gold_pages]))


def _gold_page(
    episode: Trajectory,
    page_id: str,
    boxes: Sequence[Region],
    pictures: Pictures,
    names: dict[str, str],
    sizes: dict[str, tuple[float, float]],
) -> str:
    """A gold page with its gold boxes and what was cropped of it."""
    shown = [image for turn in episode.turns for image in turn.observation.images if image.page_id == page_id]
    marks = [Mark(box.box, "gold", "gold") for box in boxes if box.page_id in ("", page_id)]
    crops = [
        (number, region.box)
        for number, region in enumerate(episode.chosen_regions, start=1)
        if region is not None and region.page_id == page_id
    ]
    marks += [Mark(box, f"crop {number}") for number, box in crops]
    how = f"cropped in turn {', '.join(str(n) for n, _ in crops)}" if crops else "shown, never cropped"
    told = how if shown else "never shown to the policy"
    known = "" if any(mark.style == "gold" for mark in marks) else ", no gold box known"
    width, height = sizes.get(page_id, (612.0, 792.0))
    page = whole_page(shown[0]) if shown else ImageRef(page_id, WIDTH, max(1, round(WIDTH * height / width)))
    return pictures.figure(page, f"{names.get(page_id, page_id)}: {told}{known}", marks, max_width=460)
