"""The two renderers are one function: the same words in the same places, and the same picture, on real pages."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from visor_core.documents.legibility import named
from visor_core.documents.reader import OpenDocument, Word, open_document
from visor_core.errors import DocumentError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
FOLDERS = ("mmlongbench-doc/documents", "pdfjs")
"""Reports and papers; small files with one odd thing each, some of which no reader opens."""
_SIDE = 400
"""Pixels of a compared picture."""


def _pages(folder: str, share: int) -> list[tuple[Path, int]]:
    """Every so-manieth page of the shared documents of a folder."""
    found = []
    for path in sorted((SHARED / folder).glob("**/*.pdf")):
        try:
            document = open_document(path)
        except DocumentError:
            continue
        found += [(path, page) for page in range(1, document.num_pages + 1)]
        document.close()
    return found[::share]


def _words(document: OpenDocument, page: int) -> list[Word]:
    return [word for block in document.words(page) for word in block]


def _overlap(one: Word, other: Word) -> float:
    """Intersection over union."""
    wide = max(0.0, min(one.x1, other.x1) - max(one.x0, other.x0))
    high = max(0.0, min(one.y1, other.y1) - max(one.y0, other.y0))
    areas = (one.x1 - one.x0) * (one.y1 - one.y0) + (other.x1 - other.x0) * (other.y1 - other.y0)
    return wide * high / (areas - wide * high) if areas else 0.0


def _compared(pages: list[tuple[Path, int]]) -> dict[str, float]:
    """Words, those that both have, those in the same place, and the pictures' mean difference of 255; pages whose fonts
    pdfium cannot name are counted apart, and are for OCR."""
    words = same = placed = nameless = 0
    differences = []
    for path, page in pages:
        try:
            first, second = open_document(path), open_document(path, renderer="pdfium")
            ours, theirs = _words(first, page), _words(second, page)
            pictures = [np.asarray(d.render(page, _SIDE, _SIDE).convert("L"), np.float32) for d in (first, second)]
        except DocumentError:
            continue
        first.close()
        second.close()
        differences.append(float(np.abs(pictures[0] - pictures[1]).mean()))
        if theirs and 2 * sum(map(named, theirs)) < len(theirs):
            nameless += 1
            continue
        left: dict[str, list[Word]] = defaultdict(list)
        for word in theirs:
            left[word.text].append(word)
        for word in filter(named, ours):
            words += 1
            if left[word.text]:
                best = max(left[word.text], key=lambda other: _overlap(word, other))
                left[word.text].remove(best)
                same += 1
                placed += _overlap(word, best) > 0.5
    return {
        "pages": len(differences),
        "words": words,
        "same": same / words,
        "placed": placed / same,
        "nameless": nameless / len(differences),
        "difference": float(np.mean(differences)),
        "largest": max(differences),
    }


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / FOLDERS[0]).is_dir(), reason="../shared/data is not here")
@pytest.mark.parametrize(
    ("folder", "share"),
    [
        (FOLDERS[0], 60),
        pytest.param(FOLDERS[0], 4, marks=pytest.mark.slow_walk),
        pytest.param(FOLDERS[1], 1, marks=pytest.mark.slow_walk),
    ],
)
def test_renderers_agree_on_words_places_and_pictures(folder: str, share: int) -> None:
    found = _compared(_pages(folder, share))
    assert found["pages"] >= (200 if share < 10 else 10)
    assert found["same"] >= 0.98, found
    assert found["placed"] >= 0.98, found
    assert found["nameless"] <= 0.1, found
    assert found["difference"] < 6.0, found
    assert found["largest"] < (30.0 if folder == FOLDERS[0] else 255.0), found
