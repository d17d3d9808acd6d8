"""Boxes in page-normalised floats, and the adapters to a model family's own coordinate frame.

One convention inside the system: `Box` is (x0, y0, x1, y1) in [0, 1] of the page *as displayed* (rotation and crop box
applied), origin top left. Models write coordinates in the frame of the image they were shown; `Frame` maps those to
and from the page. Padding, clamping and minimum sizes are applied here once, for training and evaluation alike.
Source of the pixel padding: SCoRE (arXiv 2609.15800), 28 px a side in the shown image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

CoordinateSystem = Literal["pixels", "thousand", "grid10"]

_UNITS: dict[str, int] = {"thousand": 1000, "grid10": 10}


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in page-normalised floats: 0 <= x0 < x1 <= 1, 0 <= y0 < y1 <= 1.

    Raises:
        ValueError: if a coordinate is not finite, outside [0, 1], or the rectangle has no area.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        values = (self.x0, self.y0, self.x1, self.y1)
        if not all(math.isfinite(v) for v in values):
            raise ValueError(f"box {values} has a coordinate that is not a finite number")
        if not (0.0 <= self.x0 < self.x1 <= 1.0 and 0.0 <= self.y0 < self.y1 <= 1.0):
            raise ValueError(f"box {values} must satisfy 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")

    @property
    def width(self) -> float:
        """Share of the page's width."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Share of the page's height."""
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """Share of the page's area."""
        return self.width * self.height

    def as_tuple(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1)."""
        return (self.x0, self.y0, self.x1, self.y1)

    def contains(self, other: Box, tolerance: float = 1e-6) -> bool:
        """Whether `other` lies inside this box, within `tolerance` on every side."""
        return (
            self.x0 - tolerance <= other.x0
            and self.y0 - tolerance <= other.y0
            and self.x1 + tolerance >= other.x1
            and self.y1 + tolerance >= other.y1
        )


FULL_PAGE = Box(0.0, 0.0, 1.0, 1.0)


def clamp(x0: float, y0: float, x1: float, y1: float) -> Box | None:
    """The part of a rectangle inside the page, its corners put in order; None if nothing of it is left."""
    if not all(math.isfinite(v) for v in (x0, y0, x1, y1)):
        return None
    left, right = sorted((x0, x1))
    top, bottom = sorted((y0, y1))
    left, top = max(0.0, left), max(0.0, top)
    right, bottom = min(1.0, right), min(1.0, bottom)
    if left >= right or top >= bottom:
        return None
    return Box(left, top, right, bottom)


def intersection_area(a: Box, b: Box) -> float:
    """Area two boxes share, as a share of the page."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(0.0, width) * max(0.0, height)


def iou(a: Box, b: Box) -> float:
    """Intersection over union, in [0, 1]."""
    shared = intersection_area(a, b)
    return shared / (a.area + b.area - shared)


def pad(box: Box, dx: float, dy: float) -> Box:
    """The box grown by `dx` and `dy` (page-normalised) on each side, cut at the page's edge."""
    return Box(max(0.0, box.x0 - dx), max(0.0, box.y0 - dy), min(1.0, box.x1 + dx), min(1.0, box.y1 + dy))


def at_least(box: Box, width: float, height: float) -> Box:
    """The box grown around its centre to at least `width` × `height`, then shifted back inside the page."""

    def grow(low: float, high: float, size: float) -> tuple[float, float]:
        size = min(1.0, max(size, high - low))
        start = (low + high - size) / 2
        start = min(max(0.0, start), 1.0 - size)
        return start, min(1.0, start + size)

    x0, x1 = grow(box.x0, box.x1, width)
    y0, y1 = grow(box.y0, box.y1, height)
    return Box(x0, y0, x1, y1)


@dataclass(frozen=True, slots=True)
class Frame:
    """The coordinate frame of one shown image: which part of the page it shows, at what size, in whose units.

    Args:
        region: the part of the page shown (the whole page, or a crop).
        width, height: size of the shown image in pixels.
        system: `pixels` of the shown image (Qwen2.5-VL), integers 0–1000 (`thousand`; Qwen3-VL) or 0–10 (`grid10`).
    """

    region: Box
    width: int
    height: int
    system: CoordinateSystem = "pixels"

    @property
    def units(self) -> tuple[float, float]:
        """Extent of the shown image in the model's own units (x, y)."""
        if self.system == "pixels":
            return float(self.width), float(self.height)
        unit = float(_UNITS[self.system])
        return unit, unit

    def to_page(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """Model coordinates → page-normalised floats. Not clamped: the caller judges what lies outside."""
        ux, uy = self.units
        r = self.region
        return (
            r.x0 + x0 / ux * r.width,
            r.y0 + y0 / uy * r.height,
            r.x0 + x1 / ux * r.width,
            r.y0 + y1 / uy * r.height,
        )

    def from_page(self, box: Box) -> tuple[int, int, int, int]:
        """Page box → integers in the model's frame, rounded to the nearest unit."""
        return self.in_units(*box.as_tuple())

    def in_units(self, x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
        """Page-normalised floats, which may lie outside the page, → integers in the model's frame."""
        ux, uy = self.units
        r = self.region
        return (
            round((x0 - r.x0) / r.width * ux),
            round((y0 - r.y0) / r.height * uy),
            round((x1 - r.x0) / r.width * ux),
            round((y1 - r.y0) / r.height * uy),
        )


def shown_size(width: float, height: float, min_pixels: int, max_pixels: int, multiple: int = 1) -> tuple[int, int]:
    """Pixel size at which a region is shown: its aspect ratio kept, its area inside the budget, sides a multiple.

    Args:
        width, height: size of the region in any one unit (points); only the ratio counts, the area is filled.
        min_pixels, max_pixels: budget on width × height in pixels.
        multiple: both sides are multiples of this (patch size × merge size of the model family; 28 for Qwen2.5-VL).
    """
    if width <= 0 or height <= 0:
        raise ValueError(f"a region of {width} × {height} has no area to show")
    ratio = min(200.0, max(1 / 200.0, width / height))
    h = math.sqrt(max_pixels / ratio)
    w = h * ratio
    cols, rows = max(1, math.floor(w / multiple)), max(1, math.floor(h / multiple))
    if cols * rows * multiple * multiple < min_pixels:
        h = math.sqrt(min_pixels / ratio)
        cols, rows = max(1, math.ceil(h * ratio / multiple)), max(1, math.ceil(h / multiple))
    return cols * multiple, rows * multiple
