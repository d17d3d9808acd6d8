"""What perception is taught on: views of pages (overviews and crops) with everything legible in them.

A view is an `ImageRef`, drawn by the same renderer and read by the same processor as at run time. Its marks say which
word, label or digit stands where in the picture; its lessons are short questions with known answers (title, reading of
a crop, reading of a legible panel, where a label is; in the rich tier, that a label is not there).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from visor_core.documents.crops import CropRenderer
from visor_core.geometry import FULL_PAGE, Box
from visor_core.index.records import split_page_id
from visor_core.nano.model import IMAGE_SIDE
from visor_core.nano.panels import GRID, LABELS, PAGE_POINTS, Panel
from visor_core.nano.questions import REFUSAL
from visor_core.nano.rich_pages import CHARTED
from visor_core.nano.world import CROP_CELLS, World, WorldPage, title_centres, value_centres
from visor_core.policies.base import ImageRef, Message, Prompt

Head = Literal["company", "topic", "label", "tens", "ones"]
Kind = Literal["title", "reading", "legible", "locate", "absent", "closing", "reckoning"]
LEGIBLE_PIXELS = 11.0
"""A font size below this many pixels of the shown picture counts as illegible."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something legible: which head names it, its class, and its centre in the picture, in [0, 1]²."""

    head: Head
    word: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class View:
    """One picture and what it shows."""

    ref: ImageRef
    page: WorldPage
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Lesson:
    """One question about one view."""

    prompt: Prompt
    reply: str
    kind: Kind


def page_renderer(*worlds: World) -> CropRenderer:
    """Draws any part of any page of these worlds, straight from their PDFs."""
    paths = {split_page_id(page.page_id)[0]: world.folder / page.path for world in worlds for page in world.pages}
    return CropRenderer(paths, None, "pymupdf", open_documents=256)


def load_picture(renderer: CropRenderer, ref: ImageRef) -> Image.Image:
    """The picture of a reference (an `ImageLoader` once the renderer is bound)."""
    document_id, page = split_page_id(ref.page_id)
    return renderer.picture(document_id, page, ref.width, ref.height, ref.box)


def view_of(page: WorldPage, box: Box = FULL_PAGE) -> View:
    """A view of one region with all that is legible and wholly inside it."""
    ref = ImageRef(page.page_id, IMAGE_SIDE, IMAGE_SIDE, box)
    scale = IMAGE_SIDE / (box.width * PAGE_POINTS)
    found = [*title_centres(page), *value_centres(page)]
    marks = []
    for head, word, size, x, y in found:
        inside = box.x0 < x < box.x1 and box.y0 < y < box.y1
        if inside and size * scale >= LEGIBLE_PIXELS:
            marks.append(Mark(head, word, (x - box.x0) / box.width, (y - box.y0) / box.height))  # type: ignore[arg-type]
    return View(ref, page, tuple(marks))


def views(pages: Sequence[WorldPage], seed: int) -> list[View]:
    """Overviews and crops: every tight target, and one random square crop a page."""
    rng = random.Random(f"views/{seed}")
    made = []
    for page in pages:
        made.append(view_of(page))
        if page.panels:
            targets = {panel.target for panel in page.panels if panel.target != FULL_PAGE}
            made += [view_of(page, target) for target in sorted(targets, key=Box.as_tuple)]
            size = rng.randint(CROP_CELLS, 5)
            x, y = rng.randint(0, GRID - size), rng.randint(2, GRID - size)
            made.append(view_of(page, Box(x / GRID, y / GRID, (x + size) / GRID, (y + size) / GRID)))
    return made


def lessons(view: View) -> list[Lesson]:
    """All questions a view can answer."""
    page, made = view.page, []
    if view.ref.box == FULL_PAGE:
        made.append(lesson_of(view, "page", "read", page.title, "title"))
        for panel in page.panels:
            if page.legible:
                made.append(lesson_of(view, "page", f"read {panel.label}", f"{panel.label} {panel.value}", "legible"))
            else:
                box = ",".join(str(round(v * GRID)) for v in panel.target.as_tuple())
                made.append(lesson_of(view, "page", f"crop {panel.label}", f"<bbox>[{box}]</bbox>", "locate"))
        made += [lesson_of(view, "page", f"crop {label}", f"{label} {REFUSAL}", "absent") for label in _absent(page)]
        return made
    for panel in page.panels:
        if panel.target == view.ref.box:
            made.append(lesson_of(view, "crop", _reading_of(page, panel), f"{panel.label} {panel.value}", "reading"))
    return made


def _reading_of(page: WorldPage, panel: Panel) -> str:
    """What a crop is asked: the crop of a table or chart shows several values."""
    return f"read {panel.label}" if page.layout in CHARTED else "read"


def _absent(page: WorldPage) -> list[str]:
    """Labels that a page of the rich tier could have and has not; one of a table's rows stands for both columns."""
    if page.tier != "rich" or not page.panels:
        return []
    column = page.panels[0].label.partition(" ")[2]
    names = {panel.label.split()[0] for panel in page.panels}
    return [f"{label} {column}".strip() for label in LABELS if label not in names]


def lesson_of(view: View, name: str, ask: str, reply: str, kind: Kind) -> Lesson:
    """One lesson in the form of an agent's context: an empty ledger, the picture, the question last."""
    prompt = Prompt((Message("user", ("evidence", name, view.ref, f"question {ask}")),))
    return Lesson(prompt, reply if reply.startswith("<") else f" {reply}", kind)
