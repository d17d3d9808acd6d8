"""Opening, sizes, words and rasters of PDFs and pictures, through both renderers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.visor_core.documents.writing import mapped_font, nameless_font, write_pdf, write_picture, write_raw_pdf
from visor_core.documents import reader
from visor_core.documents.reader import Limits, OpenDocument, PageSize, check_limits, media_type, raster_size
from visor_core.documents.worker import Task, render_page
from visor_core.errors import DocumentError
from visor_core.geometry import FULL_PAGE, Box

LIMITS = Limits(max_bytes=10**8, max_pages=50, max_page_inches=120, max_page_pixels=4_000_000)
RENDERERS = ("pymupdf", "pdfium")


_SHARED: dict[str, OpenDocument] = {}
_TO_CLOSE: list[OpenDocument] = []


def open_document(path: Path, **options: Any) -> OpenDocument:
    """The function under test; what it opened is closed after the test."""
    document = reader.open_document(path, **options)
    _TO_CLOSE.append(document)
    return document


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while _TO_CLOSE:
        _TO_CLOSE.pop().close()


def dark_box(image: Image.Image) -> tuple[float, float, float, float]:
    """Bounding box of dark pixels as shares of the picture."""
    dark = np.asarray(image.convert("L")) < 128
    ys, xs = np.nonzero(dark)
    height, width = dark.shape
    return xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_word_boxes_lie_on_the_ink_whatever_the_rotation(tmp_path: Path, renderer: str, rotation: int) -> None:
    document = open_document(write_pdf(tmp_path / "a.pdf", ["WORD"], rotation=rotation), renderer=renderer)
    size = document.page_size(1)
    assert (size.width_pt, size.height_pt) == ((400, 300) if rotation % 180 == 0 else (300, 400))
    ((word,),) = document.words(1)
    x0, y0, x1, y1 = dark_box(document.render(1, 800, 800))
    assert word.text == "WORD"
    assert word.x0 - 0.01 <= x0 < x1 <= word.x1 + 0.01
    assert word.y0 - 0.01 <= y0 < y1 <= word.y1 + 0.01
    assert word.x1 - word.x0 < 3 * (x1 - x0)
    assert word.y1 - word.y0 < 3 * (y1 - y0)


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_crop_box_is_the_page(tmp_path: Path, renderer: str, rotation: int) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["INSIDE"])
    with pymupdf.open(path) as pdf:
        pdf[0].set_cropbox(pymupdf.Rect(20, 20, 220, 120))
        pdf[0].set_rotation(rotation)
        pdf.save(tmp_path / "b.pdf")
    document = open_document(tmp_path / "b.pdf", renderer=renderer)
    width, height = (200, 100) if rotation % 180 == 0 else (100, 200)
    assert document.page_size(1) == PageSize(width, height, rotation)
    ((word,),) = document.words(1)
    x0, y0, x1, y1 = dark_box(document.render(1, 6 * width, 6 * height))
    # The box lies around the ink and is not much larger: a line of 14 points is under 25 high, the word 50 long.
    assert word.x0 - 0.01 <= x0 < x1 <= word.x1 + 0.01
    assert word.y0 - 0.01 <= y0 < y1 <= word.y1 + 0.01
    long, high = (word.x1 - word.x0) * width, (word.y1 - word.y0) * height
    if rotation % 180:
        long, high = high, long
    assert 40 < long < 60
    assert 8 < high < 25
    # The ink is where the PDF puts it: 20 points from the left edge and 40 from the top of the unturned page.
    left, top = {0: (x0, y1), 90: (y0, 1 - x0), 180: (1 - x1, 1 - y0), 270: (1 - y1, x1)}[rotation]
    assert (left * 200, top * 100) == pytest.approx((20, 40), abs=2)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_crop_shows_the_same_ink_as_the_page(tmp_path: Path, renderer: str) -> None:
    document = open_document(write_pdf(tmp_path / "a.pdf", ["WORD"]), renderer=renderer)
    box = Box(0.05, 0.1, 0.45, 0.4)
    x0, y0, x1, y1 = dark_box(document.render(1, 800, 600, box))
    page = dark_box(document.render(1, 1600, 1200))
    mapped = box.x0 + x0 * box.width, box.y0 + y0 * box.height, box.x0 + x1 * box.width, box.y0 + y1 * box.height
    assert mapped == pytest.approx(page, abs=0.004)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 1), st.floats(0.01, 1)),
    st.integers(1, 300),
    st.integers(1, 300),
)
def test_a_raster_has_exactly_the_requested_size(
    tmp_path_factory: pytest.TempPathFactory, corners: tuple[float, float, float, float], width: int, height: int
) -> None:
    x, y, w, h = corners
    box = Box(x, y, min(1.0, x + w), min(1.0, y + h))
    for renderer in RENDERERS:
        if renderer not in _SHARED:
            path = write_pdf(tmp_path_factory.mktemp("pdf") / "a.pdf", ["some words on a page"])
            _SHARED[renderer] = reader.open_document(path, renderer=renderer)
        image = _SHARED[renderer].render(1, width, height, box)
        assert image.size == (width, height)
        assert image.mode == "RGB"


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html>hello</html>", "none of those that are read"),
        (b"%PDF-1.7\nnothing more", "damaged|no pages"),
    ],
)
def test_what_is_no_document_is_refused_with_its_reason(
    tmp_path: Path, renderer: str, content: bytes, reason: str
) -> None:
    (tmp_path / "a.pdf").write_bytes(content)
    with pytest.raises(DocumentError, match=reason):
        open_document(tmp_path / "a.pdf", renderer=renderer)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_passwords(tmp_path: Path, renderer: str) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["SECRET"], password="open sesame")
    with pytest.raises(DocumentError, match=r"encrypted: give its password under documents\.passwords"):
        open_document(path, renderer=renderer)
    with pytest.raises(DocumentError, match="password configured for its file name is wrong"):
        open_document(path, renderer=renderer, password="guess")
    document = open_document(path, renderer=renderer, password="open sesame")
    assert document.words(1)[0][0].text == "SECRET"


def test_limits_name_the_page_and_the_option(tmp_path: Path) -> None:
    huge = open_document(write_pdf(tmp_path / "huge.pdf", [""], size=(200 * 72, 100)))
    with pytest.raises(DocumentError, match=r"page 1 is 200 inches long, more than documents\.max_page_inches = 120"):
        check_limits(huge, LIMITS)
    long = open_document(write_pdf(tmp_path / "long.pdf", [""] * 51))
    with pytest.raises(DocumentError, match=r"51 pages, more than documents\.max_pages = 50"):
        check_limits(long, LIMITS)


def test_raster_size_is_lowered_to_the_pixel_limit() -> None:
    assert raster_size(PageSize(720, 360), 144, 10**9) == (1440, 720, 144.0)
    width, height, dpi = raster_size(PageSize(720, 360), 144, 1440 * 720 // 4)
    assert (width, height, dpi) == (720, 360, 72.0)
    # JPEG has at most 65,535 pixels along a side.
    assert raster_size(PageSize(120 * 72, 7.2), 600, 24_000_000)[:2] == (65_500, 55)


@pytest.mark.parametrize(("suffix", "kind"), [("png", "png"), ("jpg", "jpeg"), ("webp", "webp"), ("tif", "tiff")])
def test_pictures_are_documents(tmp_path: Path, suffix: str, kind: str) -> None:
    path = write_picture(tmp_path / f"a.{suffix}")
    assert media_type(path.read_bytes()[:64]) == f"image/{kind}"
    document = open_document(path)
    assert document.num_pages == 1
    assert document.words(1) == []
    size = document.page_size(1)
    assert size.width_pt / size.height_pt == pytest.approx(1.6)
    corner = document.render(1, 40, 40, Box(0, 0, 0.2, 0.2))
    assert np.asarray(corner).max() < 40
    assert np.asarray(document.render(1, 40, 40, Box(0.5, 0.5, 1, 1))).min() > 215


def test_a_tiff_has_a_page_a_frame(tmp_path: Path) -> None:
    frames = [Image.new("L", (30 + 10 * i, 20), 40 * i) for i in range(3)]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    document = open_document(tmp_path / "a.tiff")
    assert document.num_pages == 3
    assert [round(document.page_size(p).width_pt / document.page_size(p).height_pt, 2) for p in (1, 2, 3)] == [
        1.5,
        2,
        2.5,
    ]
    assert [np.asarray(document.render(p, 4, 4))[0, 0, 0] for p in (3, 1, 2)] == [80, 0, 40]


def test_exif_rotation_and_transparency(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise: the upper left corner goes to the upper right
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    document = open_document(tmp_path / "turned.jpg")
    assert document.page_size(1).height_pt > document.page_size(1).width_pt
    pixels = np.asarray(document.render(1, 20, 40).convert("L"))
    assert pixels[3, 16] < 60 < 200 < pixels[3, 3]
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(open_document(tmp_path / "clear.png").render(1, 8, 8)).min() == 255


def test_an_image_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(DocumentError, match=r"20000 × 20000 pixels, .* allowed: 8 × documents\.max_page_pixels"):
        open_document(tmp_path / "bomb.png", max_pixels=32_000_000)
    Image.new("1", (8_000, 8_000)).save(tmp_path / "large.png")
    with pytest.raises(DocumentError, match="8000 × 8000 pixels, more than the 32,000,000 allowed"):
        open_document(tmp_path / "large.png", max_pixels=32_000_000)


def test_a_truncated_picture_is_refused(tmp_path: Path) -> None:
    content = write_picture(tmp_path / "a.png", "text").read_bytes()
    (tmp_path / "b.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DocumentError, match=r"damaged|cannot be decoded"):
        open_document(tmp_path / "b.png").render(1, 10, 10, FULL_PAGE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_is_shown_as_a_turned_png_is(tmp_path: Path, orientation: int) -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix in ("png", "tif"):
        image.save(tmp_path / f"a.{suffix}", exif=exif)
    png, tiff = (open_document(tmp_path / f"a.{suffix}") for suffix in ("png", "tif"))
    sizes = {png.page_size(1), tiff.page_size(1)}
    for document in (png, tiff):  # the size stays what it was once the picture is decoded
        document.render(1, 20, 20)
        sizes.add(document.page_size(1))
    assert len(sizes) == 1
    assert np.array_equal(np.asarray(png.render(1, 20, 20)), np.asarray(tiff.render(1, 20, 20)))


def _frame_directories(content: bytes) -> list[tuple[int, int]]:
    """Offset and number of entries of every frame's directory in a little-endian TIFF."""
    (offset,) = struct.unpack_from("<I", content, 4)
    found = []
    while offset:
        (count,) = struct.unpack_from("<H", content, offset)
        found.append((offset, count))
        (offset,) = struct.unpack_from("<I", content, offset + 2 + 12 * count)
    return found


def test_a_bad_tiff_frame_is_a_page_with_a_problem(tmp_path: Path) -> None:
    frames = [Image.new("L", (30, 20), 40 * i) for i in range(4)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    content = (tmp_path / "a.tif").read_bytes()
    directories = _frame_directories(content)
    # Frames 2 and 3 state a compression that does not exist; the fourth is whole.
    unknown = bytearray(content)
    for offset, count in directories[1:3]:
        for entry in range(offset + 2, offset + 2 + 12 * count, 12):
            if struct.unpack_from("<H", unknown, entry) == (259,):
                struct.pack_into("<I", unknown, entry + 8, 61_234)
    # The file ends where the third frame begins: where the fourth lies is not known.
    cut = content[: directories[2][0]]
    for damaged, pages, bad in ((unknown, 4, {2, 3}), (cut, 3, {3})):
        (tmp_path / "b.tif").write_bytes(damaged)
        document = open_document(tmp_path / "b.tif")
        assert document.num_pages == pages
        for page in (*range(1, pages + 1), *range(pages, 0, -1)):
            if page in bad:
                with pytest.raises(DocumentError, match=f"page {page} cannot be read"):
                    document.render(page, 4, 4)
            else:
                assert np.asarray(document.render(page, 4, 4))[0, 0, 0] == 40 * (page - 1)


def test_a_bomb_in_a_later_frame_is_refused(tmp_path: Path) -> None:
    Image.new("1", (10, 10)).save(tmp_path / "a.tif", save_all=True, append_images=[Image.new("1", (2_000, 2_000))])
    with pytest.raises(DocumentError, match="page 2 is a picture of 2000 × 2000 pixels, more than the 1,000,000"):
        open_document(tmp_path / "a.tif", max_pixels=1_000_000)


def _words(document: OpenDocument) -> list[str]:
    return [word.text for block in document.words(1) for word in block]


@pytest.mark.parametrize("renderer", RENDERERS)
def test_what_a_form_field_holds_is_drawn_and_read(tmp_path: Path, renderer: str) -> None:
    with pymupdf.open() as made:
        page = made.new_page(width=400, height=300)
        field = pymupdf.Widget()
        field.field_type, field.field_name = pymupdf.PDF_WIDGET_TYPE_TEXT, "name"
        field.rect, field.field_value, field.text_fontsize = pymupdf.Rect(160, 40, 380, 70), "Quendolina Harbour", 14
        page.add_widget(field)
        made.save(tmp_path / "form.pdf")
    document = open_document(tmp_path / "form.pdf", renderer=renderer)
    assert _words(document) == ["Quendolina", "Harbour"]
    x0, y0, x1, y1 = dark_box(document.render(1, 800, 600))
    assert 0.38 < x0 < x1 < 0.96
    assert 0.13 < y0 < y1 < 0.24
    crop = document.render(1, 440, 60, Box(0.4, 40 / 300, 0.95, 70 / 300))
    assert (np.asarray(crop.convert("L")) < 128).any()


@pytest.mark.parametrize("renderer", RENDERERS)
def test_characters_beyond_the_first_plane_do_not_shift_the_boxes_that_follow(tmp_path: Path, renderer: str) -> None:
    letters = {code: chr(code) for code in range(65, 91)}
    content = b"BT /F1 24 Tf 40 200 Td (aaaaaaaaaaaaaaaa) Tj ET BT /F1 24 Tf 40 100 Td (VELOCITY) Tj ET"
    path = write_raw_pdf(tmp_path / "math.pdf", content, mapped_font({97: "\U0001d6fc"} | letters))
    document = open_document(path, renderer=renderer)
    words = {word.text: word for block in document.words(1) for word in block}
    assert set(words) == {"\U0001d6fc" * 16, "VELOCITY"}
    velocity = words["VELOCITY"]
    assert 0.7 > velocity.y1 > velocity.y0 > 0.55
    assert (velocity.x0, velocity.x1) == (pytest.approx(0.08, abs=0.01), pytest.approx(0.317, abs=0.01))


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_hyphen_at_the_end_of_a_line_is_one(tmp_path: Path, renderer: str) -> None:
    document = open_document(write_pdf(tmp_path / "a.pdf", ["the recon-\nciliation"]), renderer=renderer)
    assert _words(document) == ["the", "recon-", "ciliation"]


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_ligature_is_its_letters(tmp_path: Path, renderer: str) -> None:
    content = b"BT /F1 24 Tf 40 200 Td (a) Tj ET"
    path = write_raw_pdf(tmp_path / "a.pdf", content, mapped_font({97: "\ufb01"}))
    assert _words(open_document(path, renderer=renderer)) == ["fi"]


@pytest.mark.parametrize("renderer", RENDERERS)
def test_glyphs_that_a_font_does_not_name_are_no_text(tmp_path: Path, renderer: str) -> None:
    """Their codes would read as plausible words ("5IF SFWFOVF"), which nobody can search or quote."""
    font, codes = nameless_font()
    content = b"BT /F1 14 Tf 40 200 Td " + codes("The revenue of the harbour office rose to 4711 that year") + b" Tj ET"
    path = write_raw_pdf(tmp_path / "a.pdf", content, font)
    task = Task("a", path, "a.pdf", renderer, LIMITS, 2**31, pages=(1,), dpi=72)  # type: ignore[arg-type]
    page = render_page(open_document(path, renderer=renderer), task, 1)
    assert (page.text, page.text_source, page.word_texts) == ("", "none", ())


@pytest.mark.parametrize("renderer", RENDERERS)
def test_letters_are_composed(tmp_path: Path, renderer: str) -> None:
    content = b"BT /F1 24 Tf 40 200 Td (ab) Tj ET"
    path = write_raw_pdf(tmp_path / "a.pdf", content, mapped_font({97: "e\u0301", 98: "t"}))
    task = Task("a", path, "a.pdf", renderer, LIMITS, 2**31, pages=(1,), dpi=72)  # type: ignore[arg-type]
    page = render_page(open_document(path, renderer=renderer), task, 1)
    assert (page.text, page.word_texts) == ("\u00e9t", ("\u00e9t",))


@pytest.mark.parametrize(("start", "kind"), [(b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg")])
def test_a_picture_that_quotes_a_pdf_header_is_a_picture(start: bytes, kind: str) -> None:
    assert media_type(start + b"comment: %PDF-1.7") == kind
    assert media_type(b"junk before\n%PDF-1.4") == "application/pdf"
