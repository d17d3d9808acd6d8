"""Crops: the requested size, the same bytes every time, from memory, disk or anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.visor_core.documents.writing import write_pdf
from visor_core.documents.crops import CropRenderer
from visor_core.documents.mupdf import MuPDFDocument
from visor_core.errors import DocumentError
from visor_core.geometry import Box

BOX = Box(0.05, 0.1, 0.6, 0.4)


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    return {name: write_pdf(tmp_path / f"{name}.pdf", [f"page of {name}"] * 2) for name in ("a", "b", "c")}


def test_identical_bytes_for_identical_requests(tmp_path: Path, sources: dict[str, Path]) -> None:
    cache = tmp_path / "crops"
    first = CropRenderer(sources, cache, "pymupdf").picture("a", 1, 700, 600, BOX)
    assert first.size == (700, 600)
    assert first.mode == "RGB"
    assert len(list(cache.rglob("*.png"))) == 1
    from_disk = CropRenderer(sources, cache, "pymupdf").picture("a", 1, 700, 600, BOX)
    anew = CropRenderer(sources, None, "pymupdf").picture("a", 1, 700, 600, BOX)
    assert first.tobytes() == from_disk.tobytes() == anew.tobytes()
    next(cache.rglob("*.png")).write_bytes(b"damaged")
    assert CropRenderer(sources, cache, "pymupdf").picture("a", 1, 700, 600, BOX).tobytes() == first.tobytes()


def test_small_crops_stay_off_the_disk_and_limits_hold(tmp_path: Path, sources: dict[str, Path]) -> None:
    crops = CropRenderer(sources, tmp_path / "crops", "pymupdf", open_documents=1, memory_bytes=128 * 128 * 3 * 2)
    pictures = [crops.picture(name, page, 128, 128).tobytes() for name in "abc" for page in (1, 2)]
    assert pictures == [crops.picture(name, page, 128, 128).tobytes() for name in "abc" for page in (1, 2)]
    assert not (tmp_path / "crops").exists()
    assert len(crops._open) == 1
    assert crops._held <= 128 * 128 * 3 * 2
    crops.close()


def test_what_cannot_be_drawn_says_so(sources: dict[str, Path]) -> None:
    crops = CropRenderer(sources, None, "pymupdf")
    with pytest.raises(DocumentError, match="page 3 does not exist"):
        crops.picture("a", 3, 10, 10)
    with pytest.raises(DocumentError, match="no document x"):
        crops.picture("x", 1, 10, 10)
    with pytest.raises(DocumentError, match="not drawn"):
        crops.picture("a", 1, 100_000, 100_000)
    with pytest.raises(DocumentError, match=r"1e-07 × 0\.3 of a page is not drawn at 100 × 10 pixels"):
        crops.picture("a", 1, 100, 10, Box(0.5, 0.1, 0.5 + 1e-7, 0.4))


@pytest.mark.parametrize("fault", [AttributeError("no attribute\nthis"), MemoryError(), ZeroDivisionError("zero")])
def test_whatever_a_parser_raises_is_the_documents_fault(
    sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    crops = CropRenderer(sources, None, "pymupdf")

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(MuPDFDocument, "render", fail)
    with pytest.raises(
        DocumentError, match=f"page 1 cannot be drawn at 20 × 10 pixels: {type(fault).__name__}"
    ) as raised:
        crops.picture("a", 1, 20, 10)
    assert "\n" not in str(raised.value)
    monkeypatch.undo()
    assert crops.picture("a", 1, 20, 10).size == (20, 10)
