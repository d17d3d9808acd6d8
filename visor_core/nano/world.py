"""The embedded default's world: seeded company reports as real PDF files, with questions whose answers are known.

A corpus is a handful of companies, one PDF each: a cover and one page a topic. A topic page has a two-line title and a
grid of coloured, labelled panels with one two-digit number each, small enough to be illegible in the overview and
sharp in a crop; on `big` pages it is legible at once. Everything to be read is snapped to a 10×10 grid. Only titles
stand in the text layer: panels are outlines, and on damaged pages the topic word is too, with noise in its place as a
bad scan leaves it, so that text search finds the company but not the topic. Same seed, same bytes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pymupdf

from visor_core.config import NanoConfig
from visor_core.documents.sources import document_id_of
from visor_core.errors import ConfigError
from visor_core.geometry import FULL_PAGE, Box
from visor_core.index.records import page_id_of
from visor_core.nano.held_out import HeldOutReading

PAGE_POINTS = 512.0
GRID = 10
CROP_CELLS = 3
COMPANIES = (
    "acme", "borel", "cyan", "dorn", "elkon", "fargo", "gilt", "halo",
    "ivar", "jute", "kelp", "lumen", "mora", "nexa", "orba", "pyro",
)  # fmt: skip
TOPICS = ("staff", "sales", "cash", "costs", "debt", "units")
COVER = "report"
LABELS = ("q1", "q2", "q3", "q4", "h1", "h2")
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
_COLOURS = (
    (0.85, 0.92, 1.0), (1.0, 0.9, 0.8), (0.87, 0.97, 0.85), (0.97, 0.87, 0.95), (1.0, 0.97, 0.8), (0.88, 0.88, 0.95),
)  # fmt: skip
_TITLE_SIZE = 56.0
_TITLE_BASELINES = (60.0, 118.0)
# Points: label and number size, and where the number starts inside its panel: so that, in the picture that is to be
# read (a tight crop; the overview of a `big` page), the two digits fall into two different image tokens.
_SMALL = (40.0, 28.0, (61.2, 84.0))
_LARGE = (56.0, 84.0, (81.3, 110.0))
_NOISE = "bcdfghjkmnpqrtvwxz"
_SPLIT_OFFSETS = {"train": 0, "development": 1_000_000, "test": 2_000_000}


@dataclass(frozen=True, slots=True)
class Panel:
    """One labelled number; `box` is its panel, `target` the tight crop (3×3 cells) that shows label and number."""

    label: str
    value: str
    box: Box
    target: Box
    colour: int


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


def write_world(
    folder: Path, split: str, config: NanoConfig, seed: int, *, reading: HeldOutReading | None = None
) -> World:
    """Write the PDFs of a split to `<folder>/<corpus>/<company>.pdf`; files that are there already are kept.

    Args:
        split: `train`, `development` or `test`; their values and layouts come from disjoint seed ranges.
        reading: leave to read the test split (`held_out.log_reading`).

    Raises:
        ConfigError: if more companies or topics are asked for than there are names, for an unknown split, or for the
            test split without leave.
    """
    if split not in _SPLIT_OFFSETS:
        raise ConfigError(f"the nano world has no split {split!r}: choose one of {', '.join(_SPLIT_OFFSETS)}")
    if split == "test" and reading is None:
        raise ConfigError("the test split is read by `visor nano study --final` only, and every reading is logged")
    if config.companies > len(COMPANIES) or config.topics > len(TOPICS):
        raise ConfigError(f"nano.companies is at most {len(COMPANIES)} and nano.topics at most {len(TOPICS)}")
    corpora = {"train": config.train_corpora, "development": config.development_corpora, "test": config.test_corpora}
    pages: list[WorldPage] = []
    for number in range(corpora[split]):
        rng = random.Random(f"world/{seed}/{_SPLIT_OFFSETS[split] + number}")
        partition = f"{split}-{number:02d}"
        for company in sorted(rng.sample(COMPANIES, config.companies)):
            drawn = [_draw_content(company, topic, rng, config) for topic in rng.sample(TOPICS, config.topics)]
            path = folder / partition / f"{company}.pdf"
            if not path.is_file():
                _write_pdf(path, company, drawn)
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


def _draw_content(company: str, topic: str, rng: random.Random, config: NanoConfig) -> _Content:
    layout = rng.choices(tuple(LAYOUTS), _SHARES)[0]
    shift = rng.randint(0, 1)
    colours = rng.sample(range(len(_COLOURS)), len(LAYOUTS[layout]))
    panels = []
    for (label, x0, y0, x1, y1), colour in zip(LAYOUTS[layout], colours, strict=True):
        box = _cells(x0, y0 + shift, x1, y1 + shift)
        target = FULL_PAGE if layout == "big" else _cells(x0, y0 + shift, x0 + CROP_CELLS, y0 + shift + CROP_CELLS)
        panels.append(Panel(label, str(rng.randint(10, 99)), box, target, colour))
    noise = "".join(rng.choices(_NOISE, k=len(topic)))
    return _Content(company, topic, layout, tuple(panels), noise if rng.random() < config.damaged_titles else "")


def _cells(x0: int, y0: int, x1: int, y1: int) -> Box:
    return Box(x0 / GRID, y0 / GRID, x1 / GRID, y1 / GRID)


@cache
def _outline(text: str, size: float) -> tuple[bytes, float]:
    """A one-page PDF of `text` as vector outlines (nothing in its text layer), and its width in points."""
    width = pymupdf.get_text_length(text, fontname="hebo", fontsize=size)
    with pymupdf.open() as document:
        page = document.new_page(width=width, height=size * 1.2)
        page.insert_text((0, size * 0.95), text, fontname="hebo", fontsize=size)
        svg = page.get_svg_image(text_as_path=True)
    with pymupdf.open(stream=svg.encode(), filetype="svg") as drawing:
        return drawing.convert_to_pdf(), width


def _stamp(page: pymupdf.Page, text: str, x: float, top: float, size: float) -> None:
    data, width = _outline(text, size)
    with pymupdf.open("pdf", data) as drawing:
        page.show_pdf_page(pymupdf.Rect(x, top, x + width, top + size * 1.2), drawing, 0)


def _title(page: pymupdf.Page, word: str, line: int, noise: str = "") -> None:
    """A title word; with `noise`, the word as an outline over invisible noise."""
    baseline = _TITLE_BASELINES[line]
    if noise:
        page.insert_text((14, baseline), noise, fontname="hebo", fontsize=_TITLE_SIZE, render_mode=3)
        _stamp(page, word, 14, baseline - _TITLE_SIZE * 0.95, _TITLE_SIZE)
    else:
        page.insert_text((14, baseline), word, fontname="hebo", fontsize=_TITLE_SIZE)


def _write_pdf(path: Path, company: str, pages: list[_Content]) -> None:
    """One company's report: a cover, then its topic pages; written whole or not at all."""
    with pymupdf.open() as document:
        cover = document.new_page(width=PAGE_POINTS, height=PAGE_POINTS)
        _title(cover, company, 0)
        _title(cover, COVER, 1)
        for content in pages:
            page = document.new_page(width=PAGE_POINTS, height=PAGE_POINTS)
            _title(page, content.company, 0)
            _title(page, content.topic, 1, content.noise)
            label_size, value_size, (dx, dy) = _LARGE if content.layout == "big" else _SMALL
            for panel in content.panels:
                rect = pymupdf.Rect(*(v * PAGE_POINTS for v in panel.box.as_tuple()))
                page.draw_rect(
                    (rect.x0 + 3, rect.y0 + 3, rect.x1 - 3, rect.y1 - 3),
                    color=(0.3, 0.3, 0.3),
                    fill=_COLOURS[panel.colour],
                    width=1.5,
                )
                _stamp(page, panel.label, rect.x0 + 12, rect.y0 + 8, label_size)
                _stamp(page, panel.value, rect.x0 + dx, rect.y0 + dy, value_size)
        document.set_metadata({})
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(document.tobytes(garbage=4, deflate=True, no_new_id=True))
        partial.rename(path)


def title_centres(page: WorldPage) -> list[tuple[str, str, float, float, float]]:
    """The title's words as (head, word, font size in points, centre x, centre y), centres page-normalised."""
    return [
        (head, word, _TITLE_SIZE, (14 + _width(word, _TITLE_SIZE) / 2) / PAGE_POINTS, (baseline - 18) / PAGE_POINTS)
        for head, word, baseline in zip(("company", "topic"), (page.company, page.topic), _TITLE_BASELINES, strict=True)
    ]


def value_centres(page: WorldPage) -> list[tuple[str, str, float, float, float]]:
    """Labels and digits of all panels, in the form of `title_centres`."""
    label_size, value_size, (dx, dy) = _LARGE if page.legible else _SMALL
    found = []
    for panel in page.panels:
        x0, y0 = panel.box.x0 * PAGE_POINTS, panel.box.y0 * PAGE_POINTS
        x, y = x0 + 12 + _width(panel.label, label_size) / 2, y0 + 8 + 0.65 * label_size
        found.append(("label", panel.label, label_size, x / PAGE_POINTS, y / PAGE_POINTS))
        digit = _width("0", value_size)
        y = (y0 + dy + 0.6 * value_size) / PAGE_POINTS
        for i, head in enumerate(("tens", "ones")):
            found.append((head, panel.value[i], value_size, (x0 + dx + (i + 0.5) * digit) / PAGE_POINTS, y))
    return found


def _width(text: str, size: float) -> float:
    return float(pymupdf.get_text_length(text, fontname="hebo", fontsize=size))
