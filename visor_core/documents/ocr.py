"""Text of pages whose layer does not say it, by RapidOCR (PP-OCRv6 models in the wheel; the extra `ocr`, no download).

Runs on the page's raster inside a worker process, on one thread, so that the result does not depend on the machine's
load. A page that lies on its side or upside down is turned first. A recognised line becomes words by sharing its width
among its characters. Leaves out: vertical scripts, and alphabets that the models in the wheel do not know.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from visor_core.documents.order import reading_order
from visor_core.documents.reader import Word
from visor_core.errors import MissingDependencyError
from visor_core.installation import install_command

READS = "Chinese, Japanese and languages in Latin letters"
"""What the models in the wheel were trained on."""
_MIN_CONFIDENCE = 0.5
_LONGEST_SIDE = 1600
"""Pixels; smaller text than this resolves is not read anyway, and time grows with the area."""
_TRIED_LINES = 6
"""Longest lines of a page, by which it is told how the page lies."""
_MARGIN = 0.05
"""By how much more confidently lines must be read the other way up for the page to be turned."""
_SIDEWAYS = 1.5
"""How many times a line is as high as wide that lies on its side."""


@dataclass(frozen=True, slots=True)
class Line:
    """A recognised line: its text, confidence in 0–1, and box in pixels as x0, y0, x1, y1."""

    text: str
    confidence: float
    box: tuple[float, float, float, float]

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]


def available() -> bool:
    """Whether the extra `ocr` is installed."""
    return importlib.util.find_spec("rapidocr") is not None and importlib.util.find_spec("onnxruntime") is not None


@functools.cache
def _engine() -> Any:
    """The recogniser of this process (models take a second to load)."""
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise MissingDependencyError(
            f"OCR needs the extra `ocr`: `{install_command('ocr')}`, or set documents.ocr: never"
        ) from error
    options = {
        "Global.log_level": "critical",
        "Global.text_score": _MIN_CONFIDENCE,
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    return RapidOCR(params=options)


@dataclass(frozen=True, slots=True)
class Recognised:
    """Lines of words with page-normalised boxes, in reading order; `turned` if the page does not lie upright."""

    lines: list[list[Word]]
    turned: bool


def recognise(image: Image.Image) -> Recognised:
    """What a page picture says, whichever way up it lies."""
    scale = min(1.0, _LONGEST_SIDE / max(image.size))
    if scale < 1.0:
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    lines = _lines(pixels)
    turns = quarter_turns(pixels, lines)
    if turns:
        pixels = np.ascontiguousarray(np.rot90(pixels, turns))
        lines = _lines(pixels)
    height, width = pixels.shape[:2]
    found = [
        split_line(n.text, n.box[0] / width, n.box[1] / height, n.box[2] / width, n.box[3] / height) for n in lines
    ]
    upright = reading_order([words for words in found if words])
    return Recognised([[turned_back(word, turns) for word in words] for words in upright], bool(turns))


def _lines(pixels: npt.NDArray[np.uint8]) -> list[Line]:
    """The lines that the engine finds in a picture (H, W, 3), blue first."""
    found = _engine()(pixels, use_det=True, use_cls=True, use_rec=True)
    # A page without text gives an output that has no boxes, or boxes and no texts at all.
    boxes, texts, scores = (getattr(found, name, None) for name in ("boxes", "txts", "scores"))
    if boxes is None or texts is None or scores is None:
        return []
    lines = []
    for corners, text, score in zip(boxes, texts, scores, strict=True):
        xs, ys = [float(x) for x, _ in corners], [float(y) for _, y in corners]
        lines.append(Line(str(text), float(score), (min(xs), min(ys), max(xs), max(ys))))
    return lines


def quarter_turns(pixels: npt.NDArray[np.uint8], lines: Sequence[Line]) -> int:
    """Quarter turns against the clock that bring a page upright, told by its longest lines.

    Each is read as it lies and upside down: the engine turns single lines by itself, so that a page on its head is
    read, but from its last line to its first.
    """
    sideways = sum(max(line.width, line.height) for line in lines if line.height > _SIDEWAYS * line.width)
    turns = 1 if 2 * sideways > sum(max(line.width, line.height) for line in lines) else 0
    longest = sorted(lines, key=lambda line: max(line.width, line.height), reverse=True)[:_TRIED_LINES]
    crops = [np.rot90(_crop(pixels, line), turns) for line in longest]
    crops = [crop for crop in crops if crop.shape[0] > 0 and crop.shape[1] > crop.shape[0]]
    if not crops:
        return 0
    upright, upended = (_confidence([np.ascontiguousarray(np.rot90(c, k)) for c in crops]) for k in (0, 2))
    return turns + 2 if upended > upright + _MARGIN else turns


def _crop(pixels: npt.NDArray[np.uint8], line: Line) -> npt.NDArray[np.uint8]:
    x0, y0, x1, y1 = (max(0, round(edge)) for edge in line.box)
    return pixels[y0:y1, x0:x1]


def _confidence(crops: Sequence[npt.NDArray[np.uint8]]) -> float:
    """Mean confidence of lines that are read as they lie."""
    found = [_engine()(crop, use_det=False, use_cls=False, use_rec=True) for crop in crops]
    return sum(float(f.scores[0]) if f.txts and f.txts[0].strip() else 0.0 for f in found) / len(crops)


def turned_back(word: Word, turns: int) -> Word:
    """A word of a page that was turned by quarter turns against the clock, in the page as it was.

    >>> turned_back(Word("a", 0.1, 0.2, 0.3, 0.25), 2)
    Word(text='a', x0=0.7, y0=0.75, x1=0.9, y1=0.8)
    """
    x0, y0, x1, y1 = word[1:]
    for _ in range(turns % 4):
        # A point (x, y) of the turned page was (1 - y, x) of the page before.
        x0, y0, x1, y1 = 1.0 - y1, x0, 1.0 - y0, x1
    return Word(word.text, x0, y0, x1, y1)


def split_line(text: str, x0: float, y0: float, x1: float, y1: float) -> list[Word]:
    """The words of a line, each with the share of the line's width that its characters have."""
    x0, x1 = max(0.0, x0), min(1.0, x1)
    y0, y1 = max(0.0, y0), min(1.0, y1)
    if x1 <= x0 or y1 <= y0:
        return []
    step = (x1 - x0) / len(text)
    words, start = [], 0
    for piece in text.split(" "):
        if piece.strip():
            words.append(Word(piece, x0 + start * step, y0, x0 + (start + len(piece)) * step, y1))
        start += len(piece) + 1
    return words
