"""OCR of a page without a text layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.visor_core.documents.writing import write_picture
from visor_core.documents import ocr
from visor_core.documents.messages import RenderedPage
from visor_core.documents.ocr import split_line
from visor_core.documents.reader import Limits
from visor_core.documents.worker import Task, perform


def test_a_line_is_shared_among_its_words_by_characters() -> None:
    first, second = split_line("ab cde", 0.0, 0.1, 0.6, 0.2)
    assert first == ("ab", 0.0, 0.1, pytest.approx(0.2), 0.2)
    assert second == ("cde", pytest.approx(0.3), 0.1, pytest.approx(0.6), 0.2)
    assert split_line("x", 0.5, 0.1, 0.5, 0.2) == []


@pytest.mark.skipif(not ocr.available(), reason="the extra `ocr` is not installed")
def test_a_picture_is_read(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.png", "4711", size=(640, 400))
    limits = Limits(10**8, 10, 120, 4_000_000)
    for mode, source in (("auto", "ocr"), ("never", "none")):
        task = Task("a", path, "a.png", "pymupdf", limits, 2**31, pages=(1,), dpi=96, ocr=mode)
        page = next(m for m in perform(task) if isinstance(m, RenderedPage))
        assert page.text_source == source
        assert ("4711" in page.text) == (source == "ocr")
        if source == "ocr":
            x0, y0, x1, y1 = page.word_boxes[list(page.word_texts).index("4711")]
            assert 0.3 < x0 < x1 < 0.8
            assert 0.45 < y0 < y1 < 0.65
