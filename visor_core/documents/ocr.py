"""Text of pages that have none, by RapidOCR (PP-OCRv6 models in the wheel; the extra `ocr`, no download).

Runs on the page's raster inside a worker process, on one thread, so that the result does not depend on the machine's
load. A recognised line becomes words by sharing its width among its characters. Leaves out: vertical scripts.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np
from PIL import Image

from visor_core.documents.reader import Word
from visor_core.errors import MissingDependencyError
from visor_core.installation import install_command

_MIN_CONFIDENCE = 0.5
_LONGEST_SIDE = 1600
"""Pixels; smaller text than this resolves is not read anyway, and time grows with the area."""


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


def recognise(image: Image.Image) -> list[list[Word]]:
    """Lines of words of a page picture, with page-normalised boxes."""
    scale = min(1.0, _LONGEST_SIDE / max(image.size))
    if scale < 1.0:
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    found = _engine()(pixels)
    # A page without text gives an output that has no boxes, or boxes and no texts at all.
    boxes, texts = getattr(found, "boxes", None), getattr(found, "txts", None)
    lines: list[list[Word]] = []
    if boxes is None or texts is None:
        return lines
    for corners, text in zip(boxes, texts, strict=True):
        xs = [float(x) / image.width for x, _ in corners]
        ys = [float(y) / image.height for _, y in corners]
        words = split_line(str(text), min(xs), min(ys), max(xs), max(ys))
        if words:
            lines.append(words)
    return lines


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
