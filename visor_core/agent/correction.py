"""Visual Action Evaluation and Correction, the model-free half: shown box → page region, or why it is refused.

Geometry after SCoRE (arXiv 2609.15800): box in the frame of the page *as shown* → linear map to the page → padding →
clamp; minimum side and square regions are options for small models. The same function serves the environment, teachers
and evaluation, so padding cannot differ between them. The model's own verdict is handled by `environment`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from visor_core.config import CropConfig, ImageConfig
from visor_core.geometry import FULL_PAGE, Box, CoordinateSystem, Frame, at_least, clamp, iou, pad, shown_size
from visor_core.policies.base import ImageRef

INSIDE_SHARE = 0.5
"""A box with less of its area than this on the page is out of frame; a lesser overhang is cut off."""


@dataclass(frozen=True, slots=True)
class Region:
    """What a box in the model's frame asks for: a page region, or the `fault` for which it is refused."""

    box: Box | None
    fault: str = ""


def chosen_box(box: tuple[float, float, float, float], frame: Frame) -> Box | None:
    """What a box in the model's frame points at: its part inside the page, before any padding or growth.

    None if nothing of it is left.
    """
    return clamp(*frame.to_page(*box))


def page_region(
    box: tuple[float, float, float, float],
    frame: Frame,
    page_size: tuple[float, float],
    config: CropConfig,
    earlier: Iterable[Box] = (),
    *,
    check: bool = True,
) -> Region:
    """The padded, clamped, grown region a box stands for.

    Args:
        box: corners in the units of `frame`.
        frame: the page as it was shown (never a crop: a crop does not change the frame of reference).
        page_size: width and height of the page in any one unit (points).
        earlier: regions of this page already cropped in the episode.
        check: whether near-whole-page and repeated crops are refused; degenerate and out-of-frame boxes always are.
    """
    x0, y0, x1, y1 = frame.to_page(*box)
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        return Region(None, "bad box")
    area = abs(x1 - x0) * abs(y1 - y0)
    if min(abs(x1 - x0) * frame.width, abs(y1 - y0) * frame.height) < 1 - 1e-6:
        return Region(None, "degenerate")
    inside = chosen_box(box, frame)
    if inside is None or inside.area < INSIDE_SHARE * area:
        return Region(None, "outside")
    region = pad(inside, config.pad_pixels / frame.width, config.pad_pixels / frame.height)
    if min(region.width, region.height) < config.min_side:
        region = at_least(region, config.min_side, config.min_side)
    if config.square:
        width, height = page_size
        side = max(region.width * width, region.height * height)
        region = at_least(region, side / width, side / height)
    if check and region.area >= config.near_whole_page:
        return Region(None, "whole page")
    if check and any(iou(region, other) >= config.repeat_iou for other in earlier):
        return Region(None, "repeat")
    return Region(region)


def crop_reference(page_id: str, region: Box, page_size: tuple[float, float], config: ImageConfig) -> ImageRef:
    """A picture of a page region that fills the pixel budget at the region's own aspect ratio."""
    width, height = shown_size(
        region.width * page_size[0],
        region.height * page_size[1],
        config.min_pixels,
        config.max_pixels,
        config.multiple,
    )
    return ImageRef(page_id, width, height, region)


def page_reference(page_id: str, page_size: tuple[float, float], config: ImageConfig) -> ImageRef:
    """A picture of a whole page inside the pixel budget."""
    return crop_reference(page_id, FULL_PAGE, page_size, config)


def frame_of(shown: ImageRef, coordinates: CoordinateSystem) -> Frame:
    """The coordinate frame of a shown picture, in the units the model writes."""
    return Frame(shown.box, shown.width, shown.height, coordinates)
