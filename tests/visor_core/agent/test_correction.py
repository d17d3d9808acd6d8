"""Crop geometry: hand-worked regions, every check, round trips within one shown pixel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visor_core.agent.correction import crop_reference, frame_of, page_reference, page_region
from visor_core.config import CropConfig, ImageConfig
from visor_core.geometry import Box, CoordinateSystem, Frame
from visor_core.policies.base import ImageRef

PAGE = ImageRef("d/00001", 400, 500)
SIZE = (600.0, 750.0)
PIXELS = frame_of(PAGE, "pixels")
BARE = CropConfig(pad_pixels=0, min_side=0)


def region(box: tuple[float, float, float, float], config: CropConfig = BARE, frame: Frame = PIXELS) -> Box | str:
    found = page_region(box, frame, SIZE, config)
    return found.box or found.fault


def test_padding_is_in_shown_pixels_and_cut_at_the_edge() -> None:
    assert region((100, 100, 200, 200)) == Box(0.25, 0.2, 0.5, 0.4)
    padded = region((100, 100, 200, 200), CropConfig(pad_pixels=28, min_side=0))
    assert isinstance(padded, Box)
    assert padded.as_tuple() == pytest.approx((72 / 400, 72 / 500, 228 / 400, 228 / 500))
    edge = region((0, 0, 200, 200), CropConfig(pad_pixels=28, min_side=0))
    assert isinstance(edge, Box)
    assert edge.as_tuple() == pytest.approx((0, 0, 228 / 400, 228 / 500))


def test_the_units_of_each_family() -> None:
    assert region((250, 200, 500, 400), frame=frame_of(PAGE, "thousand")) == Box(0.25, 0.2, 0.5, 0.4)
    grid = region((2, 3, 5, 6), frame=frame_of(PAGE, "grid10"))
    assert isinstance(grid, Box)
    assert grid.as_tuple() == pytest.approx((0.2, 0.3, 0.5, 0.6))


def test_minimum_side_and_square_regions() -> None:
    small = region((200, 200, 202, 202), CropConfig(pad_pixels=0, min_side=0.3))
    assert isinstance(small, Box)
    assert (small.width, small.height) == pytest.approx((0.3, 0.3))
    square = region((100, 100, 300, 150), CropConfig(pad_pixels=0, min_side=0, square=True))
    assert isinstance(square, Box)
    assert square.width * SIZE[0] == pytest.approx(square.height * SIZE[1])
    assert square.width == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((100, 100, 100, 200), "degenerate"),
        ((100, 100, 100.5, 200), "degenerate"),
        ((500, 100, 600, 200), "outside"),
        ((-300, 100, 100, 200), "outside"),
        ((0, 0, 400, 500), "whole page"),
        ((float("inf"), 0, 1, 1), "bad box"),
    ],
)
def test_faults(box: tuple[float, float, float, float], fault: str) -> None:
    assert region(box) == fault


def test_a_small_overhang_is_cut_and_swapped_corners_are_put_in_order() -> None:
    assert region((300, 100, 450, 200)) == Box(0.75, 0.2, 1.0, 0.4)
    assert region((200, 200, 100, 100)) == Box(0.25, 0.2, 0.5, 0.4)


def test_repeats_and_whole_pages_are_allowed_without_correction() -> None:
    box = (100, 100, 200, 200)
    again = page_region(box, PIXELS, SIZE, BARE, [Box(0.25, 0.2, 0.5, 0.4)])
    assert again.fault == "repeat"
    assert page_region(box, PIXELS, SIZE, BARE, [Box(0.25, 0.2, 0.5, 0.4)], check=False).box is not None
    assert page_region((0, 0, 400, 500), PIXELS, SIZE, BARE, check=False).box is not None
    assert page_region(box, PIXELS, SIZE, BARE, [Box(0.3, 0.2, 0.55, 0.4)]).box is not None


shown = st.tuples(st.integers(56, 2000), st.integers(56, 2000))
system: st.SearchStrategy[CoordinateSystem] = st.sampled_from(["pixels", "thousand"])


@given(shown, st.data())
def test_shown_to_page_to_crop_to_page_within_one_shown_pixel(size: tuple[int, int], data: st.DataObject) -> None:
    width, height = size
    x0 = data.draw(st.integers(0, width - 2))
    y0 = data.draw(st.integers(0, height - 2))
    x1 = data.draw(st.integers(x0 + 1, width))
    y1 = data.draw(st.integers(y0 + 1, height))
    page = ImageRef("d/00001", width, height)
    frame = frame_of(page, "pixels")
    found = page_region((x0, y0, x1, y1), frame, size, CropConfig(pad_pixels=0, min_side=0), check=False)
    assert found.box is not None
    # Back to the page as shown: the same pixels.
    assert frame.from_page(found.box) == (x0, y0, x1, y1)
    # Through the crop: its whole frame maps onto the region, within one pixel of the page as shown.
    crop = crop_reference("d/00001", found.box, size, ImageConfig())
    inside = frame_of(crop, "pixels")
    x0p, y0p, x1p, y1p = inside.to_page(0, 0, crop.width, crop.height)
    back = (x0p * width, y0p * height, x1p * width, y1p * height)
    assert all(abs(a - b) <= 1.0 for a, b in zip(back, (x0, y0, x1, y1), strict=True))


@given(shown, system, st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_page_box_survives_the_models_units(
    size: tuple[int, int], system: CoordinateSystem, x: float, y: float, w: float, h: float
) -> None:
    box = Box(x * (1 - w), y * (1 - h), min(1.0, x * (1 - w) + w), min(1.0, y * (1 - h) + h))
    frame = frame_of(ImageRef("d/00001", *size), system)
    x0, y0, x1, y1 = frame.to_page(*frame.from_page(box))
    ux, uy = frame.units
    assert max(abs(x0 - box.x0), abs(x1 - box.x1)) <= 0.5 / ux + 1e-9
    assert max(abs(y0 - box.y0), abs(y1 - box.y1)) <= 0.5 / uy + 1e-9


numbers = st.floats(-1e6, 1e6)


@given(st.tuples(numbers, numbers, numbers, numbers), st.floats(0, 100), st.floats(0, 1), st.booleans())
def test_any_box_becomes_a_region_on_the_page_or_a_fault(
    box: tuple[float, float, float, float], pad: float, side: float, square: bool
) -> None:
    config = CropConfig(pad_pixels=pad, min_side=side, square=square)
    found = page_region(box, PIXELS, SIZE, config)
    assert (found.box is None) == bool(found.fault)
    if found.box is not None:
        assert found.box.width >= side - 1e-9
        assert found.box.area < config.near_whole_page
        budget = ImageConfig()
        ref = crop_reference("p", found.box, SIZE, budget)
        assert ref.width % budget.multiple == ref.height % budget.multiple == 0


@pytest.mark.parametrize("size", [(595, 842), (842, 595), (100, 5000), (5000, 100), (28, 28)])
def test_pages_fill_the_pixel_budget(size: tuple[float, float]) -> None:
    budget = ImageConfig()
    ref = page_reference("p", size, budget)
    assert budget.min_pixels <= ref.width * ref.height <= budget.max_pixels
    assert ref.box == Box(0, 0, 1, 1)
