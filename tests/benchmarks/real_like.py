"""Pages like real ones, as many as wanted: lengths, layout and words drawn from ../shared/data/mmlongbench-doc.

A page takes the boxes of a real one. Half of its words are of that page, three tenths of all pages by their frequency,
the rest are new: words of the collection with two letters changed, as names and numbers are new on every page. Nothing
of the collection is kept: it is read anew by whoever measures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visor_core.errors import DataError

DOCUMENTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "mmlongbench-doc" / "documents"
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz0123456789"))


@dataclass(frozen=True)
class RealPages:
    """Words and page-normalised boxes (N, 4) of each real page that has text."""

    words: tuple[tuple[str, ...], ...]
    boxes: tuple[np.ndarray, ...]


def read_real(documents: Path = DOCUMENTS, limit: int = 1_000) -> RealPages:
    """The pages that have a text layer.

    Raises:
        DataError: if the documents are not there.
    """
    import pymupdf

    if not documents.is_dir():
        raise DataError(f"{documents} is not there: this measurement needs ../shared/data")
    words: list[tuple[str, ...]] = []
    boxes: list[np.ndarray] = []
    for path in sorted(documents.glob("*.pdf")):
        if len(words) >= limit:
            break
        with pymupdf.open(path) as document:
            for page in document:
                found = page.get_text("words")
                if len(found) >= 5:
                    words.append(tuple(str(word[4]) for word in found))
                    size = np.array([page.rect.width, page.rect.height] * 2, np.float32)
                    boxes.append(np.asarray([word[:4] for word in found], np.float32) / size)
    return RealPages(tuple(words), tuple(boxes))


def real_like(pages: RealPages, count: int, seed: int = 0) -> Iterator[tuple[list[str], np.ndarray]]:
    """Words and boxes (N, 4) of `count` pages; the same for the same seed."""
    random = np.random.default_rng(seed)
    every = np.array([word for page in pages.words for word in page], dtype=object)
    for _ in range(count):
        chosen = int(random.integers(len(pages.words)))
        own = np.array(pages.words[chosen], dtype=object)
        length = len(own)
        kinds = random.random(length)
        text = np.where(
            kinds < 0.5, own[random.integers(length, size=length)], every[random.integers(len(every), size=length)]
        )
        for place in np.flatnonzero(kinds > 0.8):
            text[place] = _changed(str(text[place]), random)
        yield [str(word) for word in text], pages.boxes[chosen]


def _changed(word: str, random: np.random.Generator) -> str:
    """A word with two of its characters replaced."""
    letters = list(word)
    for place in random.integers(len(letters), size=2):
        letters[place] = str(_LETTERS[random.integers(len(_LETTERS))])
    return "".join(letters)
