"""Pages of the rich tier: tables, bar charts with printed values, and panels whose labels stand in any order.

A table's field is a row and a column (`q3 plan`), a chart's the name under the bar, a panel's its label. Names can be
read in the overview, so that it shows where to crop and what is *not* there; values only in the crop, but for `big`
pages. Crops of tables and charts are 4×4 cells, panels' as in the core tier. Column headings, bars, grid lines and grey
lines of running text stand around the values as in a real report.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pymupdf

from visor_core.nano.drawing import stamp, text_width
from visor_core.nano.panels import CELL, COLOURS, COLUMNS, LABELS, PAGE_POINTS, Panel, Printed, cells_box

LAYOUTS = ("2x2", "3x2", "big", "table", "bars")
CHARTED = ("table", "bars")
"""Layouts of this module; the others are the core tier's grids with their labels in any order."""
CROP_CELLS = 4
TABLE_ROWS = 5
# Points: names are legible in the overview (a quarter pixel a point), values in a crop only.
NAME_SIZE, VALUE_SIZE, HEADING_SIZE = 44.0, 28.0, 24.0
_BAR_WIDTH, _BAR_TOP_VALUE, _BAR_HEIGHT = 1.15 * CELL, 99, 2.2 * CELL
_GREY, _INK, _RULE = (0.78, 0.78, 0.8), (0.3, 0.3, 0.3), (0.86, 0.87, 0.9)


def draw_panels(layout: str, rng: random.Random) -> tuple[Panel, ...]:
    """The cells of a table or the bars of a chart, with values of their own."""
    return _table(rng) if layout == "table" else _chart(rng)


def _table(rng: random.Random) -> tuple[Panel, ...]:
    """Two columns at the left or right edge: a heading row, then a row a name."""
    left, top, colour = rng.choice((0, 6)), 3 + rng.randint(0, 1), rng.randrange(len(COLOURS))
    panels = []
    for number, name in enumerate(rng.sample(LABELS, TABLE_ROWS), start=1):
        # The headings are in sight for the first rows; a row below them stands last in its crop.
        first = max(top, top + number - 3)
        crop = cells_box(left, first, left + CROP_CELLS, first + CROP_CELLS)
        for column, heading in enumerate(COLUMNS):
            x = left + 1.4 + 1.2 * column
            box = cells_box(x, top + number, x + 1.2, top + number + 1)
            panels.append(Panel(f"{name} {heading}", str(rng.randint(10, 99)), box, crop, colour))
    return tuple(panels)


def _chart(rng: random.Random) -> tuple[Panel, ...]:
    """Four bars over the whole width, the value on each, the name under it."""
    top, colours = 5 + rng.randint(0, 1), rng.sample(range(len(COLOURS)), 4)
    return tuple(
        Panel(
            name,
            str(rng.randint(10, 99)),
            cells_box(2 * number + 1.4, top, 2 * number + 2.6, top + CROP_CELLS),
            cells_box(2 * number, top, 2 * number + CROP_CELLS, top + CROP_CELLS),
            colour,
        )
        for number, (name, colour) in enumerate(zip(rng.sample(LABELS, 4), colours, strict=True))
    )


def printed(layout: str, panels: Sequence[Panel]) -> list[Printed]:
    """Every word of a table or chart with its place."""
    return _table_words(panels) if layout == "table" else _bar_words(panels)


def draw(page: pymupdf.Page, layout: str, panels: Sequence[Panel]) -> None:
    """Draw a table or chart; its words as outlines."""
    if layout == "table":
        _draw_table(page, panels)
    else:
        _draw_chart(page, panels)
    for word in printed(layout, panels):
        stamp(page, word.text, word.x, word.top, word.size)


def _table_corner(panels: Sequence[Panel]) -> tuple[float, float]:
    """Upper left corner in points: the first row's crop begins with the headings."""
    return panels[0].target.x0 * PAGE_POINTS, panels[0].target.y0 * PAGE_POINTS


def _table_words(panels: Sequence[Panel]) -> list[Printed]:
    x, top = _table_corner(panels)
    centres = (x + 2 * CELL, x + 3.2 * CELL)
    words = [
        Printed("label", heading, HEADING_SIZE, centre - text_width(heading, HEADING_SIZE) / 2, top + 14)
        for heading, centre in zip(COLUMNS, centres, strict=True)
    ]
    for number, panel in enumerate(panels):
        name, heading = panel.label.split()
        row = panel.box.y0 * PAGE_POINTS
        if number % len(COLUMNS) == 0:
            words.append(Printed("label", name, NAME_SIZE, x + 9, row - 1))
        left = centres[COLUMNS.index(heading)] - text_width(panel.value, VALUE_SIZE) / 2
        words.append(Printed("value", panel.value, VALUE_SIZE, left, row + 9))
    return words


def _draw_table(page: pymupdf.Page, panels: Sequence[Panel]) -> None:
    x, top = _table_corner(panels)
    right, bottom = x + CROP_CELLS * CELL - 4, top + (TABLE_ROWS + 1) * CELL
    page.draw_rect((x + 3, top + 3, right, top + CELL), color=None, fill=COLOURS[panels[0].colour])
    for row in range(1, TABLE_ROWS + 1):
        if row % 2 == 0:
            page.draw_rect((x + 3, top + row * CELL, right, top + (row + 1) * CELL), color=None, fill=(0.95,) * 3)
        page.draw_line((x + 3, top + row * CELL), (right, top + row * CELL), color=_INK, width=1.2)
    page.draw_rect((x + 3, top + 3, right, bottom - 2), color=_INK, width=1.5)
    beside = (right + 16, PAGE_POINTS - 16) if x == 0 else (16.0, x - 12)
    _running_text(page, beside, top + 14, bottom - 6)


def _running_text(page: pymupdf.Page, columns: tuple[float, float], top: float, bottom: float) -> None:
    """Grey lines in the place of words nobody asks about; each paragraph ends with a shorter one."""
    number, y = 0, top
    while y < bottom:
        ends = number % 5 == 4
        right = columns[0] + 0.6 * (columns[1] - columns[0]) if ends else columns[1]
        page.draw_line((columns[0], y), (right, y), color=_GREY, width=5, lineCap=1)
        number, y = number + 1, y + (34 if ends else 17)


def _bar(panel: Panel) -> tuple[float, float, float]:
    """Centre, foot and height of a bar in points."""
    x, foot = panel.target.x0 * PAGE_POINTS + 2 * CELL, panel.target.y0 * PAGE_POINTS + 3 * CELL
    return x, foot, int(panel.value) / _BAR_TOP_VALUE * _BAR_HEIGHT


def _bar_words(panels: Sequence[Panel]) -> list[Printed]:
    words = []
    for panel in panels:
        x, foot, height = _bar(panel)
        words.append(Printed("label", panel.label, NAME_SIZE, x - text_width(panel.label, NAME_SIZE) / 2, foot - 1))
        left, top = x - text_width(panel.value, VALUE_SIZE) / 2, foot - height - VALUE_SIZE * 1.14
        words.append(Printed("value", panel.value, VALUE_SIZE, left, top))
    return words


def _draw_chart(page: pymupdf.Page, panels: Sequence[Panel]) -> None:
    foot = _bar(panels[0])[1]
    left, right = 0.9 * CELL, 9.5 * CELL
    _running_text(page, (0.35 * CELL, right), 2.9 * CELL, foot - 1.25 * _BAR_HEIGHT)
    for step in range(1, 5):
        y = foot - step * _BAR_HEIGHT / 4
        page.draw_line((left, y), (right, y), color=_RULE, width=1)
    for panel in panels:
        x, _, height = _bar(panel)
        rect = (x - _BAR_WIDTH / 2, foot - height, x + _BAR_WIDTH / 2, foot)
        page.draw_rect(rect, color=_INK, fill=COLOURS[panel.colour], width=1.2)
    page.draw_line((left, foot), (right, foot), color=_INK, width=2)
    page.draw_line((left, foot - 1.1 * _BAR_HEIGHT), (left, foot), color=_INK, width=2)
