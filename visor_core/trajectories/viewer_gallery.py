"""A gallery of episodes: cards with question, answer, expected answer and a page, filtered by outcome and by words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path

from visor_core.agent.trajectory import Trajectory
from visor_core.files import write_text
from visor_core.policies.base import ImageLoader
from visor_core.trajectories.filters import is_correct
from visor_core.trajectories.viewer import (
    PageAddress,
    crops,
    episode_html,
    facts_list,
    nowhere,
    outcome_chips,
    shown_pages,
)
from visor_core.trajectories.viewer_page import Link, page, read_script
from visor_core.trajectories.viewer_pictures import Mark, Pictures

SCRIPT = Path(__file__).with_name("gallery.js")
GALLERY = "index.html"
CARD_PIXELS = 360 * 460
RIGHT, WRONG, UNJUDGED = "correct", "not correct", "not judged"


def gallery_html(
    trajectories: Sequence[Trajectory],
    images: ImageLoader,
    *,
    title: str = "Episodes",
    link: Callable[[Trajectory], str] | None = None,
    navigation: Sequence[Link] = (),
) -> str:
    """Many episodes as cards; `link` gives the address of an episode's own page."""
    pictures = Pictures(images, readable_pixels=CARD_PIXELS)
    cards = "\n".join(_card(t, pictures, link) for t in trajectories)
    body = (
        f'<div class="eyebrow">VISOR gallery</div><h1>{escape(title)}</h1>{_facts(trajectories)}'
        f'{_filters(trajectories)}<h2>Episodes</h2><div class="gallery">{cards}</div>'
    )
    return page(title, body, style=pictures.style, script=read_script(SCRIPT), navigation=navigation)


def write_viewer(
    folder: Path,
    trajectories: Sequence[Trajectory],
    images: ImageLoader,
    *,
    title: str = "Episodes",
    address_of: PageAddress = nowhere,
    up: Sequence[Link] = (),
) -> Path:
    """Write `index.html` (the gallery) and one page an episode, linked in their order; returns the gallery's path.

    Args:
        address_of: links cited pages to their documents.
        up: links above the gallery, to what it belongs to.
    """
    names = [f"{trajectory.trajectory_id}.html" for trajectory in trajectories]
    for number, (trajectory, name) in enumerate(zip(trajectories, names, strict=True)):
        around = [
            *up,
            Link("all episodes", GALLERY, "up"),
            *([Link("← previous", names[number - 1], "prev")] if number else []),
            *([Link("next →", names[number + 1], "next")] if number + 1 < len(names) else []),
        ]
        write_text(folder / name, episode_html(trajectory, images, address_of=address_of, navigation=around))
    whole = gallery_html(
        trajectories, images, title=title, link=lambda t: f"{t.trajectory_id}.html", navigation=list(up)
    )
    write_text(folder / GALLERY, whole)
    return folder / GALLERY


def _facts(trajectories: Sequence[Trajectory]) -> str:
    answered = sum(t.outcome in ("answered", "forced") for t in trajectories)
    judged = [t for t in trajectories if t.question.answers]
    facts = [
        ("episodes", str(len(trajectories))),
        ("answered", str(answered)),
        # Without gold nothing was judged: 0 correct would say that all were wrong.
        *([("correct", f"{sum(map(is_correct, judged))} of {len(judged)}")] if judged else []),
        ("mean turns", f"{_mean(len(t.turns) for t in trajectories):.2f}"),
    ]
    rewards = [t.reward for t in trajectories if t.reward is not None]
    if rewards:
        facts.append(("mean reward", f"{_mean(rewards):.3f}"))
    return facts_list(facts)


def _filters(trajectories: Sequence[Trajectory]) -> str:
    """Buttons for the outcomes there are, and a field for words; hidden where no script runs."""
    outcomes = list(dict.fromkeys(name for t in trajectories for name in _outcomes(t)))
    pressed = '<button type="button" data-filter="" aria-pressed="true">all</button>'
    buttons = pressed + "".join(
        f'<button type="button" data-filter="{_token(name)}" aria-pressed="false">{escape(name)}</button>'
        for name in sorted(outcomes)
    )
    return (
        '<div class="filters" id="filters" role="search" aria-label="Episodes" hidden>'
        f'<div role="group" aria-label="Outcome">{buttons}</div>'
        '<label>Words<input type="search" id="words" autocomplete="off"></label></div>'
        f'<p class="count" id="count" role="status">{len(trajectories)} episodes</p>'
    )


def _outcomes(t: Trajectory) -> tuple[str, str]:
    judged = (RIGHT if is_correct(t) else WRONG) if t.question.answers else UNJUDGED
    return judged, t.outcome.replace("_", " ")


def _token(outcome: str) -> str:
    return outcome.replace(" ", "-")


def _card(t: Trajectory, pictures: Pictures, link: Callable[[Trajectory], str] | None) -> str:
    pages = shown_pages(t)
    first = next((c.page_id for c in t.citations if c.page_id in pages), next(iter(pages), None))
    shot = ""
    if first is not None:
        marks = [Mark(box, f"turn {n}") for n, box in crops(t, first)]
        shot = pictures.picture(pages[first], marks)
    chips = [outcome_chips(t), f'<span class="chip">{len(t.turns)} turns</span>']
    expected = ""
    if t.question.answers:
        right = is_correct(t)
        chips.append(f'<span class="chip {"good" if right else "bad"}">{RIGHT if right else WRONG}</span>')
        expected = f'<div class="a">expected <bdi>{escape(" · ".join(t.question.answers))}</bdi></div>'
    if t.reward is not None:
        chips.append(f'<span class="chip">reward {t.reward:.2f}</span>')
    inside = (
        f'<div class="shot">{shot}</div><div class="body"><div class="q"><bdi>{escape(t.question.question)}</bdi></div>'
        f'<div class="a">answered <bdi>{escape(t.answer) or "nothing"}</bdi></div>{expected}'
        f'<div class="row">{"".join(chips)}</div></div>'
    )
    text = " ".join((t.question.question, t.answer, *t.question.answers)).lower()
    about = f'data-outcome="{" ".join(map(_token, _outcomes(t)))}" data-text="{escape(text, quote=True)}"'
    if link is None:
        return f'<div class="card" {about}>{inside}</div>'
    return f'<a class="card" {about} href="{escape(link(t), quote=True)}">{inside}</a>'


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else 0.0
