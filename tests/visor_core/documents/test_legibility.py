"""Which pages are for OCR: by what their text layer covers, and by whether it is of a language."""

from __future__ import annotations

import doctest
from pathlib import Path

import pymupdf
import pytest
from PIL import Image, ImageDraw

from tests.visor_core.documents.writing import write_pdf
from visor_core.documents import legibility, ocr
from visor_core.documents.legibility import inked, legible, plausible
from visor_core.documents.messages import RenderedPage
from visor_core.documents.reader import Limits, Word, open_document
from visor_core.documents.worker import Task, perform

LIMITS = Limits(10**8, 10, 120, 4_000_000)
LINES = [
    "The harbour office reports a revenue of 4711 thousand crowns",
    "Cargo grew in each season of that year by a tenth of it",
    "Most of the ships came from the eastern ports of the sea",
]
GERMAN = "Die Umsatzerlöse der Versicherungsgesellschaft stiegen im Geschäftsjahr auf viertausend Millionen Euro"
TURKISH = "Şirketin yıllık gelirleri geçen yıla göre yüzde on iki arttı ve kârı önemli ölçüde yükseldi"
FINNISH = "Yhtiön liikevaihto kasvoi edellisestä vuodesta kaksitoista prosenttia ja tulos parani selvästi"
POLISH = "Przychody spółki wzrosły w ubiegłym roku o dwanaście procent dzięki sprzedaży zagranicznej"
VIETNAMESE = "Doanh thu hằng năm của công ty tăng mười hai phần trăm so với năm trước nhờ xuất khẩu"


def shifted(text: str, by: int) -> str:
    """A text as it comes out of a font whose map is off by some characters."""
    return "".join(chr(ord(c) + by) if not c.isspace() else c for c in text)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(legibility).failed == 0
    assert doctest.testmod(ocr).failed == 0


@pytest.mark.parametrize("text", [*LINES, GERMAN, TURKISH, FINNISH, POLISH, VIETNAMESE, "4711 08/15 " * 30])
def test_text_of_a_language_is_plausible(text: str) -> None:
    assert plausible(text)


@pytest.mark.parametrize("by", [-31, -29, 1, 3])
def test_text_of_a_wrong_map_is_not(by: int) -> None:
    assert not plausible(" ".join(shifted(line, by) for line in LINES))


def test_cyrillic_read_as_latin_is_not() -> None:
    russian = "Годовая выручка компании выросла в прошлом году на двенадцать процентов"
    assert not plausible(russian.encode("cp1251").decode("latin-1"))
    assert plausible(russian)


def test_few_characters_beside_ink_or_nameless_ones_are_not_legible() -> None:
    blank = Image.new("RGB", (400, 300), "white")
    fox = Word("The quick brown fox jumps over the lazy dog, twice.", 0.1, 0.1, 0.9, 0.2)
    assert legible([[fox]], blank)
    number = fox._replace(text="page 12", x1=0.2)
    print_ = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(print_).text((40, 150), "a line of print that nobody has read yet", fill="black", font_size=16)
    assert legible([[number]], blank)
    assert not legible([[number]], print_)
    assert legible([], blank)
    assert not legible([], print_)
    assert not legible([[fox._replace(text="\ufffd" * 60)]], blank)
    assert not legible([[fox._replace(text="\ue001\ue002" * 40)]], blank)
    # Half of what stands there has no names.
    assert not legible([[fox, fox._replace(text="\ufffd" * 60, y0=0.3, y1=0.4)]], blank)


def _scan(lines: list[str], turned: int = 0) -> Image.Image:
    """A scanned page of large print, turned against the clock by a number of degrees."""
    image = Image.new("RGB", (1000, 1300), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines * 2):
        draw.text((60, 60 + 200 * number), line, fill="black", font_size=34)
    return image.rotate(turned, expand=True)


def _stamped(path: Path, image: Image.Image, stamp: str) -> Path:
    """A scan under a line of live text at the foot of the page."""
    image.save(path.with_suffix(".png"))
    with pymupdf.open() as document:
        width, height = (650, 500) if image.width > image.height else (500, 650)
        page = document.new_page(width=width, height=height)
        page.insert_image(page.rect, filename=path.with_suffix(".png"), keep_proportion=False)
        page.insert_text((width / 2, height - 5), stamp, fontsize=7)
        document.save(path)
    return path


def test_a_scan_with_a_stamp_is_not_legible_and_a_sparse_page_is(tmp_path: Path) -> None:
    stamp = "Downloaded from the archive on 3 May 2023"
    for name, image, expected in (("scan", _scan(LINES), False), ("slide", Image.new("RGB", (9, 9), "white"), True)):
        document = open_document(_stamped(tmp_path / f"{name}.pdf", image, stamp))
        drawn = document.render(1, 500, 650)
        blocks = document.words(1)
        assert sum(len(word.text) for block in blocks for word in block) >= 31
        assert legible(blocks, drawn) is expected, (name, inked(drawn, []))
        document.close()
    full = open_document(write_pdf(tmp_path / "full.pdf", ["\n".join(LINES)], size=(500, 200)))
    assert legible(full.words(1), full.render(1, 500, 200))
    full.close()


def _read(path: Path, mode: str = "auto") -> RenderedPage:
    task = Task("a", path, path.name, "pymupdf", LIMITS, 2**31, pages=(1,), dpi=144, ocr=mode)
    return next(message for message in perform(task) if isinstance(message, RenderedPage))


@pytest.mark.skipif(not ocr.available(), reason="the extra `ocr` is not installed")
@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_a_scan_is_read_whichever_way_up_and_its_stamp_stays(tmp_path: Path, turned: int) -> None:
    page = _read(_stamped(tmp_path / "a.pdf", _scan(LINES, turned), "Downloaded from the archive on 3 May 2023"))
    assert page.text_source == "ocr"
    assert not page.legible
    assert "Downloaded from the archive on 3 May 2023" in page.text
    assert page.text.index("The harbour office reports") < page.text.index("Cargo grew") < page.text.index("Most of")
    x0, y0, x1, y1 = page.word_boxes[list(page.word_texts).index("harbour")]
    # "harbour" begins a tenth of the way along the first line, which is at the edge where the scan begins.
    middle = {0: (0.17, 0.06), 90: (0.06, 0.83), 180: (0.83, 0.94), 270: (0.94, 0.17)}[turned]
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx(middle, abs=0.05)


@pytest.mark.skipif(not ocr.available(), reason="the extra `ocr` is not installed")
def test_text_of_a_wrong_map_is_replaced(tmp_path: Path) -> None:
    image = _scan(LINES)
    image.save(tmp_path / "a.png")
    with pymupdf.open() as document:
        page = document.new_page(width=500, height=650)
        page.insert_image(page.rect, filename=tmp_path / "a.png")
        text = "\n".join(shifted(line, 1) for line in LINES * 3)
        page.insert_text((30, 60), text, fontsize=14, render_mode=3)
        document.save(tmp_path / "a.pdf")
    read = _read(tmp_path / "a.pdf")
    assert (read.text_source, read.legible) == ("ocr", False)
    assert "ibscpvs" not in read.text
    assert "harbour" in read.text
    assert "ibscpvs" in _read(tmp_path / "a.pdf", "never").text
