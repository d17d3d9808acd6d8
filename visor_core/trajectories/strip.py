"""An episode as one picture: a column a turn, with what was shown, the crop drawn on its page, the reply, the ledger.

For places that show a picture but no page: Dagster's metadata, MLflow's artifacts, the README. The viewer tells more.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from visor_core.agent.trajectory import Trajectory, Turn
from visor_core.geometry import FULL_PAGE, Box
from visor_core.policies.base import ImageLoader, ImageRef
from visor_core.scoring.facts import supported

if TYPE_CHECKING:
    from PIL import Image

INK, LINE, ADDED, CROP, GOLD = "#1b2733", "#6b7a89", "#1f6f3d", "#d62828", "#1e6edc"
READABLE_SIDE = 256
"""Pixels a side at which pictures are drawn at least; what the policy saw may be smaller."""
_COLUMN, _HEIGHT, _DPI = 2.5, 4.3, 110


def three_samples(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Three telling episodes: a supported one over most pages with a crop, one with a rejection, and a failed one.

    Where there is no such episode, another stands in; fewer than three are given only if there are fewer.
    """

    def crops(t: Trajectory) -> bool:
        return any(turn.observation.kind == "crop" for turn in t.turns)

    def rejects(t: Trajectory) -> bool:
        return any(turn.action.verdict == "reject" for turn in t.turns)

    by_id = sorted(trajectories, key=lambda t: t.trajectory_id)
    orders = (
        lambda t: (not supported(t), not crops(t), -t.question.hops, len(t.turns)),
        lambda t: (not rejects(t), not crops(t), len(t.turns)),
        lambda t: (supported(t), not crops(t), len(t.turns)),
    )
    chosen: list[Trajectory] = []
    for order in orders:
        left = [t for t in by_id if all(t is not other for other in chosen)]
        chosen += sorted(left, key=order)[:1]
    return chosen


def draw_episode(trajectory: Trajectory, images: ImageLoader) -> Image.Image:
    """The episode as a picture; crops are red on their page, regions that hold the answer dashed blue."""
    from matplotlib.figure import Figure
    from PIL import Image

    turns = trajectory.turns
    figure = Figure(figsize=(_COLUMN * max(2, len(turns)), _HEIGHT), dpi=_DPI, layout="constrained")
    expected, verdict = (
        ", ".join(trajectory.question.answers),
        "supported" if supported(trajectory) else "not supported",
    )
    figure.suptitle(
        _plain(f"{trajectory.question.question}   →   {trajectory.answer or trajectory.outcome}")
        + _plain(f"   (expected {expected}; {verdict})"),
        fontsize=11,
        color=INK,
    )
    grid = figure.subplots(2, max(2, len(turns)), squeeze=False, height_ratios=(2.0, 1))
    for axes in grid.flat:
        axes.set_axis_off()
    for number, turn in enumerate(turns):
        _draw_turn(grid[0][number], trajectory, turn, images)
        _write_turn(grid[1][number], turn)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    picture: Image.Image = Image.open(buffer).convert("RGB")
    return picture


def _draw_turn(axes: Any, trajectory: Trajectory, turn: Turn, images: ImageLoader) -> None:
    """What the reply is about: the newest picture, or, for a crop, the page with the region on it."""
    axes.set_title(f"turn {turn.index}: {turn.action.kind}", fontsize=9, color=INK)
    cropped = turn.observation.images[-1] if turn.observation.kind == "crop" else None
    shown = cropped or (turn.prompt.images[-1] if turn.prompt.images else None)
    if shown is None:
        axes.text(0.5, 0.5, "nothing shown yet", ha="center", va="center", fontsize=8, color=LINE)
        return
    box = FULL_PAGE if cropped else shown.box
    axes.imshow(images(_readable(shown, box)), extent=(box.x0, box.x1, box.y1, box.y0), aspect="auto")
    axes.set_box_aspect(1.0)
    question = trajectory.question
    regions = [(fact.page_id, fact.box) for fact in question.gold_facts]
    if box == FULL_PAGE:
        for page, gold in regions or zip(question.gold_pages, question.gold_boxes, strict=False):
            if page == shown.page_id:
                _rectangle(axes, gold, GOLD, "--")
    if cropped:
        _rectangle(axes, cropped.box, CROP, "-")
    _rectangle(axes, box, LINE, "-", 0.6)
    axes.set_xlim(box.x0, box.x1)
    axes.set_ylim(box.y1, box.y0)


def _readable(shown: ImageRef, box: Box) -> ImageRef:
    """The picture large enough for a person, in the proportions that were shown."""
    if box == FULL_PAGE and shown.box != FULL_PAGE:
        width, height = shown.width / shown.box.width, shown.height / shown.box.height
    else:
        width, height = float(shown.width), float(shown.height)
    scale = READABLE_SIDE / max(width, height)
    return ImageRef(shown.page_id, max(1, round(width * scale)), max(1, round(height * scale)), box)


def _rectangle(axes: Any, box: Box, colour: str, style: str, width: float = 2.2) -> None:
    from matplotlib.patches import Rectangle

    corner = (box.x0, box.y0)
    axes.add_patch(Rectangle(corner, box.width, box.height, fill=False, ec=colour, lw=width, ls=style, clip_on=False))


def _write_turn(axes: Any, turn: Turn) -> None:
    """The reply, and what it added to the Evidence Space."""
    reply = turn.completion.text.replace("</think>", "</think>\n")
    axes.text(0, 1, _wrapped(reply, 32), va="top", fontsize=7.5, family="monospace", color=INK)
    entries = "\n".join(f"+ {entry.observation} ({entry.kind})" for entry in turn.evidence_added)
    axes.text(0, 0, _wrapped(entries, 34), va="bottom", fontsize=7.5, color=ADDED)


def _wrapped(text: str, width: int) -> str:
    lines = [part for line in text.splitlines() for part in textwrap.wrap(line[:400], width) or [""]]
    return _plain("\n".join(lines[:9]))


def _plain(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")
