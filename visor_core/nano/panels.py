"""What both tiers of the nano world print on a page: a labelled number, and the grid everything is snapped to."""

from __future__ import annotations

from dataclasses import dataclass

from visor_core.geometry import Box

PAGE_POINTS = 512.0
GRID = 10
CELL = PAGE_POINTS / GRID
COLOURS = (
    (0.85, 0.92, 1.0), (1.0, 0.9, 0.8), (0.87, 0.97, 0.85), (0.97, 0.87, 0.95), (1.0, 0.97, 0.8), (0.88, 0.88, 0.95),
)  # fmt: skip
LABELS = ("q1", "q2", "q3", "q4", "h1", "h2")
COLUMNS = ("plan", "real")
"""Headings of a table's columns (rich tier)."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One labelled number; `box` is where it stands, `target` the tight crop that shows label and number.

    The label of a table's cell is its row and its column, as in `q3 plan`.
    """

    label: str
    value: str
    box: Box
    target: Box
    colour: int


@dataclass(frozen=True, slots=True)
class Printed:
    """A word on a page: its upper left corner and size in points; `kind` is `label` or `value`."""

    kind: str
    text: str
    size: float
    x: float
    top: float


def cells_box(x0: float, y0: float, x1: float, y1: float) -> Box:
    """A box in page-normalised floats from grid cells."""
    return Box(x0 / GRID, y0 / GRID, x1 / GRID, y1 / GRID)
