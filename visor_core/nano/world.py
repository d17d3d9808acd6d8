"""The embedded default's world: seeded company reports as real PDF files, with questions whose answers are known.

A corpus is a handful of companies, one PDF each: a cover and one page a topic. A topic page has a two-line title and a
grid of coloured, labelled panels with one two-digit number each, small enough to be illegible in the overview and
sharp in a crop; on `big` pages it is legible at once. Everything to be read is snapped to a 10×10 grid. Only titles
stand in the text layer: panels are outlines, and on damaged pages the topic word is too, with noise in its place as a
bad scan leaves it, so that text search finds the company but not the topic. Same seed, same bytes. The `rich` tier adds
tables and bar charts (`rich_pages`) and puts the labels of panels in any order.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pymupdf

from visor_core.config import NanoConfig
from visor_core.documents.sources import document_id_of
from visor_core.errors import ConfigError
from visor_core.files import whole_file
from visor_core.geometry import FULL_PAGE
from visor_core.index.records import page_id_of
from visor_core.nano import rich_pages
from visor_core.nano.drawing import stamp, text_width
from visor_core.nano.panels import COLOURS, LABELS, PAGE_POINTS, Panel, Printed, cells_box

CROP_CELLS = 3
COMPANIES = (
    "acme", "borel", "cyan", "dorn", "elkon", "fargo", "gilt", "halo",
    "ivar", "jute", "kelp", "lumen", "mora", "nexa", "orba", "pyro",
)  # fmt: skip
TOPICS = ("staff", "sales", "cash", "costs", "debt", "units")
COVER = "report"
# Panels of each layout in grid cells: label, left, top, right, bottom.
LAYOUTS: dict[str, tuple[tuple[str, int, int, int, int], ...]] = {
    "2x2": (("q1", 0, 3, 5, 6), ("q2", 5, 3, 10, 6), ("q3", 0, 6, 5, 9), ("q4", 5, 6, 10, 9)),
    "3x2": (
        ("q1", 0, 3, 3, 6), ("q2", 3, 3, 6, 6), ("q3", 6, 3, 9, 6),
        ("q4", 0, 6, 3, 9), ("h1", 3, 6, 6, 9), ("h2", 6, 6, 9, 9),
    ),
    "big": (("h1", 0, 3, 5, 8), ("h2", 5, 3, 10, 8)),
}  # fmt: skip
_SHARES = (0.4, 0.4, 0.2)
_TITLE_SIZE = 56.0
_TITLE_BASELINES = (60.0, 118.0)
# Points: label and number size, and where the number starts inside its panel: so that, in the picture that is to be
# read (a tight crop; the overview of a `big` page), the two digits fall into two different image tokens.
_SMALL = (40.0, 28.0, (61.2, 84.0))
_LARGE = (56.0, 84.0, (81.3, 110.0))
# In the rich tier a label tells which panel it is: legible in the overview.
_RICH = (46.0, 28.0, (61.2, 84.0))
_NOISE = "bcdfghjkmnpqrtvwxz"
RANGE = 1_000_000
"""Corpora a split may have: each has a range of seeds of its own. The third range is that of `held_out`."""
_FIRST = {"train": 0, "development": RANGE, "primer": 3 * RANGE}


@dataclass(frozen=True, slots=True)
class WorldPage:
    """One page: `page_id` is what the index will call it, `path` the PDF relative to the world's folder."""

    page_id: str
    path: str
    page: int
    partition: str
    company: str
    topic: str
    layout: str
    panels: tuple[Panel, ...]
    damaged: bool
    tier: str = "core"

    @property
    def title(self) -> str:
        """What the picture shows on top, whatever the text layer says."""
        return f"{self.company} {self.topic}"

    @property
    def legible(self) -> bool:
        """Whether numbers can be read without a crop."""
        return self.layout == "big"

    def panel(self, label: str) -> Panel | None:
        """The panel of that label, if the page has it."""
        return next((p for p in self.panels if p.label == label), None)


@dataclass(frozen=True, slots=True)
class World:
    """All pages of one split, in file order."""

    split: str
    folder: Path
    pages: tuple[WorldPage, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The PDF files, in order."""
        return tuple(self.folder / path for path in dict.fromkeys(page.path for page in self.pages))

    @property
    def partitions(self) -> tuple[str, ...]:
        """Names of the corpora."""
        return tuple(dict.fromkeys(page.partition for page in self.pages))


def write_world(folder: Path, split: str, config: NanoConfig, seed: int) -> World:
    """Write the PDFs of a split to `<folder>/<corpus>/<company>.pdf`; files that are there already are kept.

    Args:
        split: `train`, `development`, or `primer` (documents that only the base model learns from, in the core tier of
            `big` pages alone); their values and layouts come from disjoint seed ranges.

    Raises:
        ConfigError: if more companies, topics or corpora are asked for than there are, or for any other split.
    """
    counts = {
        "train": config.train_corpora,
        "primer": config.primer_corpora,
        "development": config.development_corpora,
    }
    if split == "test":
        raise ConfigError("the test split is read by `visor nano study --final` only, and every reading is logged")
    if split not in counts:
        raise ConfigError(f"the nano world has no split {split!r}: choose one of {', '.join(counts)}")
    return write_corpora(folder, split, _FIRST[split], counts[split], config, seed)


def write_corpora(folder: Path, split: str, first: int, count: int, config: NanoConfig, seed: int) -> World:
    """Write `count` corpora of a split, whose documents are drawn from the range of seeds that begins at `first`.

    Raises:
        ConfigError: if more companies, topics or corpora are asked for than there are.
    """
    if count > RANGE:
        raise ConfigError(f"the nano world has at most {RANGE} {split} corpora, not {count}")
    if config.companies > len(COMPANIES) or config.topics > len(TOPICS):
        raise ConfigError(f"nano.companies is at most {len(COMPANIES)} and nano.topics at most {len(TOPICS)}")
    pages: list[WorldPage] = []
    for number in range(count):
        tier = "" if config.tier == "core" else f"{config.tier}/"
        rng = random.Random(f"world/{tier}{seed}/{first + number}")
        partition = f"{split}-{number:02d}"
        shares = (0.0, 0.0, 1.0) if split == "primer" else _SHARES
        for company in sorted(rng.sample(COMPANIES, config.companies)):
            drawn = [_draw_content(company, topic, rng, config, shares) for topic in rng.sample(TOPICS, config.topics)]
            path = folder / partition / f"{company}.pdf"
            if not path.is_file():
                _write_pdf(path, company, drawn, config.tier)
            document_id = document_id_of(path)
            cover = _Content(company, COVER, "cover", (), "")
            pages += [
                WorldPage(
                    page_id=page_id_of(document_id, i),
                    path=f"{partition}/{company}.pdf",
                    page=i,
                    partition=partition,
                    company=c.company,
                    topic=c.topic,
                    layout=c.layout,
                    panels=c.panels,
                    damaged=bool(c.noise),
                    tier=config.tier,
                )
                for i, c in enumerate([cover, *drawn], start=1)
            ]
    return World(split, folder, tuple(pages))


@dataclass(frozen=True, slots=True)
class _Content:
    """What is drawn on one page; `noise` stands in the text layer in place of the topic word, if it is damaged."""

    company: str
    topic: str
    layout: str
    panels: tuple[Panel, ...]
    noise: str


def _draw_content(
    company: str, topic: str, rng: random.Random, config: NanoConfig, shares: Sequence[float]
) -> _Content:
    if config.tier == "rich":
        layout = rng.choice(rich_pages.LAYOUTS)
        panels = rich_pages.draw_panels(layout, rng) if layout in rich_pages.CHARTED else _grid(layout, rng, rich=True)
    else:
        layout = rng.choices(tuple(LAYOUTS), shares)[0]
        panels = _grid(layout, rng)
    noise = "".join(rng.choices(_NOISE, k=len(topic)))
    return _Content(company, topic, layout, panels, noise if rng.random() < config.damaged_titles else "")


def _grid(layout: str, rng: random.Random, *, rich: bool = False) -> tuple[Panel, ...]:
    """Panels of a grid; in the rich tier any labels in any order."""
    shift = rng.randint(0, 1)
    places = LAYOUTS[layout]
    colours = rng.sample(range(len(COLOURS)), len(places))
    names = rng.sample(LABELS, len(places)) if rich else [label for label, *_ in places]
    panels = []
    for (_, x0, y0, x1, y1), label, colour in zip(places, names, colours, strict=True):
        box = cells_box(x0, y0 + shift, x1, y1 + shift)
        target = FULL_PAGE if layout == "big" else cells_box(x0, y0 + shift, x0 + CROP_CELLS, y0 + shift + CROP_CELLS)
        panels.append(Panel(label, str(rng.randint(10, 99)), box, target, colour))
    return tuple(panels)


def _title(page: pymupdf.Page, word: str, line: int, noise: str = "") -> None:
    """A title word; with `noise`, the word as an outline over invisible noise."""
    baseline = _TITLE_BASELINES[line]
    if noise:
        page.insert_text((14, baseline), noise, fontname="hebo", fontsize=_TITLE_SIZE, render_mode=3)
        stamp(page, word, 14, baseline - _TITLE_SIZE * 0.95, _TITLE_SIZE)
    else:
        page.insert_text((14, baseline), word, fontname="hebo", fontsize=_TITLE_SIZE)


def _write_pdf(path: Path, company: str, pages: list[_Content], tier: str) -> None:
    """One company's report: a cover, then its topic pages; written whole or not at all."""
    with pymupdf.open() as document:
        cover = document.new_page(width=PAGE_POINTS, height=PAGE_POINTS)
        _title(cover, company, 0)
        _title(cover, COVER, 1)
        for content in pages:
            page = document.new_page(width=PAGE_POINTS, height=PAGE_POINTS)
            _title(page, content.company, 0)
            _title(page, content.topic, 1, content.noise)
            if content.layout in rich_pages.CHARTED:
                rich_pages.draw(page, content.layout, content.panels)
            else:
                _draw_grid(page, content, tier)
        document.set_metadata({})
        with whole_file(path) as partial:
            partial.write_bytes(document.tobytes(garbage=4, deflate=True, no_new_id=True))


def _draw_grid(page: pymupdf.Page, content: _Content, tier: str) -> None:
    """Panels in colours, each with its label and its number."""
    for panel in content.panels:
        rect = pymupdf.Rect(*(v * PAGE_POINTS for v in panel.box.as_tuple()))
        page.draw_rect(
            (rect.x0 + 3, rect.y0 + 3, rect.x1 - 3, rect.y1 - 3),
            color=(0.3, 0.3, 0.3),
            fill=COLOURS[panel.colour],
            width=1.5,
        )
        for word in _panel_words(panel, content.layout, tier):
            stamp(page, word.text, word.x, word.top, word.size)


def _panel_words(panel: Panel, layout: str, tier: str) -> tuple[Printed, Printed]:
    """Label and number of a panel with their places in points."""
    label_size, value_size, (dx, dy) = _LARGE if layout == "big" else _RICH if tier == "rich" else _SMALL
    x, y = panel.box.x0 * PAGE_POINTS, panel.box.y0 * PAGE_POINTS
    return (
        Printed("label", panel.label, label_size, x + 12, y + 8),
        Printed("value", panel.value, value_size, x + dx, y + dy),
    )


def title_centres(page: WorldPage) -> list[tuple[str, str, float, float, float]]:
    """The title's words as (head, word, font size in points, centre x, centre y), centres page-normalised."""
    return [
        (head, word, _TITLE_SIZE, (14 + text_width(word, _TITLE_SIZE) / 2) / PAGE_POINTS, (baseline - 18) / PAGE_POINTS)
        for head, word, baseline in zip(("company", "topic"), (page.company, page.topic), _TITLE_BASELINES, strict=True)
    ]


def value_centres(page: WorldPage) -> list[tuple[str, str, float, float, float]]:
    """Labels and digits of all panels, in the form of `title_centres`; a digit's word is `7.` or `.4` for its place."""
    if page.layout in rich_pages.CHARTED:
        words = rich_pages.printed(page.layout, page.panels)
    else:
        words = [word for panel in page.panels for word in _panel_words(panel, page.layout, page.tier)]
    found = []
    for word in words:
        if word.kind == "label":
            x, y = word.x + text_width(word.text, word.size) / 2, word.top + 0.65 * word.size
            found.append(("label", word.text, word.size, x / PAGE_POINTS, y / PAGE_POINTS))
            continue
        digit, y = text_width("0", word.size), word.top + 0.6 * word.size
        for i, (head, form) in enumerate((("tens", "{}."), ("ones", ".{}"))):
            found.append(
                (
                    head,
                    form.format(word.text[i]),
                    word.size,
                    (word.x + (i + 0.5) * digit) / PAGE_POINTS,
                    y / PAGE_POINTS,
                )
            )
    return found
