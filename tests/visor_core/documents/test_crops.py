"""Crops: the requested size, the same bytes every time, from memory, disk or anew."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.visor_core.documents.writing import write_pdf
from visor_core.documents.crops import CropRenderer
from visor_core.documents.drawer import shared_drawer
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


def test_threads_draw_each_picture_once(tmp_path: Path, sources: dict[str, Path]) -> None:
    keys = [(name, page, side) for name in sources for page in (1, 2) for side in (20, 700)]
    alone = CropRenderer(sources, None, "pymupdf")
    expected = {key: alone.picture(*key, key[2]).tobytes() for key in keys}
    crops = CropRenderer(sources, tmp_path / "crops", "pymupdf")
    with ThreadPoolExecutor(12) as threads:
        drawn = list(threads.map(lambda key: (key, crops.picture(*key, key[2])), keys * 8))
    assert all(picture.tobytes() == expected[key] for key, picture in drawn)
    assert len({id(picture) for _, picture in drawn}) == len(keys)


@pytest.mark.filterwarnings("ignore:lance is not fork-safe")  # loaded by other tests; nothing of it is used here
def test_a_forked_process_draws_too(sources: dict[str, Path]) -> None:
    crops = CropRenderer(sources, None, "pymupdf")
    first = crops.picture("a", 1, 30, 20)
    read, write = os.pipe()
    with crops._lock, crops._drawing:  # another thread holds them at the fork
        child = os.fork()
    if child == 0:
        answer = crops.picture("a", 1, 30, 20).tobytes() + crops.picture("b", 1, 30, 20).tobytes()
        os.write(write, answer)
        shared_drawer().close()
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert answer == first.tobytes() + crops.picture("b", 1, 30, 20).tobytes()


def test_a_locked_document_is_drawn_with_its_password(tmp_path: Path) -> None:
    sources = {name: write_pdf(tmp_path / f"{name}.pdf", ["secret"], password="sesame") for name in "ab"}
    crops = CropRenderer(sources, None, "pymupdf", password_of=lambda name: "sesame" if name == "a" else "")
    assert crops.picture("a", 1, 30, 20).size == (30, 20)
    with pytest.raises(DocumentError, match=r"^the PDF is encrypted: give its password"):
        crops.picture("b", 1, 30, 20)
    assert "sesame" not in repr(crops.__dict__)
