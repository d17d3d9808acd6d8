"""Boxes and frames: hand-computed values, and properties over random boxes and frames."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from visor_core.geometry import (
    FULL_PAGE,
    Box,
    CoordinateSystem,
    Frame,
    at_least,
    clamp,
    intersection_area,
    iou,
    pad,
    shown_size,
)

unit = st.floats(0.0, 1.0, allow_nan=False)
anywhere = st.floats(-5.0, 5.0, allow_nan=False)


@st.composite
def boxes(draw: st.DrawFn, smallest: float = 1e-3) -> Box:
    x0, x1 = sorted((draw(unit), draw(unit)))
    y0, y1 = sorted((draw(unit), draw(unit)))
    assume(x1 - x0 >= smallest and y1 - y0 >= smallest)
    return Box(x0, y0, x1, y1)


@pytest.mark.parametrize(
    "values",
    [
        (0.5, 0.0, 0.5, 1.0),
        (0.6, 0.0, 0.5, 1.0),
        (-0.1, 0.0, 1.0, 1.0),
        (0.0, 0.0, 1.0, 1.1),
        (0.0, math.nan, 1.0, 1.0),
    ],
)
def test_impossible_boxes_are_refused(values: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="box"):
        Box(*values)


def test_areas_by_hand() -> None:
    a, b = Box(0.0, 0.0, 0.5, 0.5), Box(0.25, 0.25, 0.75, 0.75)
    assert intersection_area(a, b) == pytest.approx(0.0625)
    assert iou(a, b) == pytest.approx(0.0625 / 0.4375)
    assert iou(a, Box(0.5, 0.5, 1.0, 1.0)) == 0.0
    assert FULL_PAGE.contains(a)
    assert not a.contains(FULL_PAGE)


@given(boxes(), boxes())
def test_iou_is_a_symmetric_share(a: Box, b: Box) -> None:
    value = iou(a, b)
    assert 0.0 <= value <= 1.0 + 1e-9
    assert value == pytest.approx(iou(b, a))
    assert iou(a, a) == pytest.approx(1.0)


@given(anywhere, anywhere, anywhere, anywhere)
def test_clamp_gives_a_box_inside_the_page_or_nothing(x0: float, y0: float, x1: float, y1: float) -> None:
    box = clamp(x0, y0, x1, y1)
    left, right = sorted((x0, x1))
    top, bottom = sorted((y0, y1))
    reaches = left < 1 and right > 0 and top < 1 and bottom > 0 and left < right and top < bottom
    assert (box is not None) == reaches
    if box is not None:
        assert box.x0 == max(0.0, left)
        assert box.y1 == min(1.0, bottom)


def test_clamp_refuses_what_is_not_a_number() -> None:
    assert clamp(math.nan, 0, 1, 1) is None
    assert clamp(0, 0, math.inf, 1) is None


@given(boxes(), st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_padding_grows_and_stays_on_the_page(box: Box, dx: float, dy: float) -> None:
    assert pad(box, dx, dy).contains(box)


def test_padding_by_hand() -> None:
    assert pad(Box(0.25, 0.0, 0.5, 0.5), 0.125, 0.25).as_tuple() == (0.125, 0.0, 0.625, 0.75)


@given(boxes(), unit, unit)
def test_at_least_keeps_the_box_and_reaches_the_size(box: Box, width: float, height: float) -> None:
    grown = at_least(box, width, height)
    assert grown.contains(box, tolerance=1e-9)
    assert grown.width >= width - 1e-9
    assert grown.height >= height - 1e-9


def test_at_least_shifts_back_inside() -> None:
    assert at_least(Box(0.9, 0.4, 1.0, 0.6), 0.5, 0.2).as_tuple() == pytest.approx((0.5, 0.4, 1.0, 0.6))


def test_frames_by_hand() -> None:
    whole = Frame(FULL_PAGE, 560, 280)
    assert whole.to_page(140, 70, 280, 140) == (0.25, 0.25, 0.5, 0.5)
    crop = Frame(Box(0.5, 0.5, 1.0, 1.0), 100, 100, "thousand")
    assert crop.to_page(0, 500, 500, 1000) == (0.5, 0.75, 0.75, 1.0)
    grid = Frame(FULL_PAGE, 128, 128, "grid10")
    assert grid.from_page(Box(0.2, 0.3, 0.5, 0.6)) == (2, 3, 5, 6)


@given(boxes(), boxes(0.05), st.integers(28, 2000), st.integers(28, 2000), st.sampled_from(["pixels", "thousand"]))
def test_round_trip_within_one_unit(box: Box, region: Box, width: int, height: int, system: CoordinateSystem) -> None:
    frame = Frame(region, width, height, system)
    inside = Box(
        region.x0 + box.x0 * region.width,
        region.y0 + box.y0 * region.height,
        min(1.0, region.x0 + box.x1 * region.width),
        min(1.0, region.y0 + box.y1 * region.height),
    )
    back = frame.to_page(*(float(v) for v in frame.from_page(inside)))
    ux, uy = frame.units
    for returned, original, size, units in zip(
        back, inside.as_tuple(), (region.width, region.height) * 2, (ux, uy) * 2, strict=True
    ):
        assert abs(returned - original) <= 0.5 * size / units + 1e-9


@given(
    st.floats(1, 5000),
    st.floats(1, 5000),
    st.integers(10_000, 200_000),
    st.integers(1, 8),
    st.sampled_from([1, 14, 28]),
)
def test_shown_size_is_a_multiple_inside_the_budget(
    width: float, height: float, smallest: int, factor: int, multiple: int
) -> None:
    largest = smallest * (factor + 1)
    cols, rows = shown_size(width, height, smallest, largest, multiple)
    assert cols % multiple == 0
    assert rows % multiple == 0
    assert cols >= multiple
    assert rows >= multiple
    ratio = width / height
    if 1 / 20 <= ratio <= 20:
        assert cols * rows <= largest
        assert cols * rows >= smallest


def test_shown_size_of_qwen_pages() -> None:
    # A4 within 256–512 visual tokens of 28 px: 19 × 26 = 494 tokens.
    assert shown_size(595, 842, 256 * 28 * 28, 512 * 28 * 28, 28) == (19 * 28, 26 * 28)
    assert shown_size(512, 512, 128 * 128, 128 * 128, 128) == (128, 128)
    with pytest.raises(ValueError, match="no area"):
        shown_size(0, 10, 1, 2)
