"""Documents of noise: pages of words that a corpus uses, drawn at random, that say nothing. Same seed, same bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pymupdf

from visor_core.files import whole_file
from visor_core.index import PageIndex

PAGES = 3
WORDS = 180
"""Pages of a document of noise, and words of a page."""
_SAMPLED = 200
"""Pages of the corpus from which words are drawn."""


def write_noise(index: PageIndex, folder: Path, count: int, seed: int) -> list[Path]:
    """Write `count` documents of noise, other ones in every folder; the first are the same whatever the count."""
    vocabulary = _words(index, seed)
    written = []
    for number in range(count):
        path = folder / f"noise-{seed}-{number:03d}-{index.data_version[:8]}.pdf"
        if not path.is_file():
            rng = random.Random(f"noise/{seed}/{folder.name}/{number}")
            path.parent.mkdir(parents=True, exist_ok=True)
            with pymupdf.open() as document:
                for _ in range(PAGES):
                    page = document.new_page()
                    text = " ".join(rng.choices(vocabulary, k=WORDS))
                    inner = (54, 54, page.rect.width - 54, page.rect.height - 54)
                    page.insert_textbox(inner, text, fontname="helv", fontsize=11)
                with whole_file(path) as partial:
                    partial.write_bytes(document.tobytes(garbage=3, deflate=True, no_new_id=True))
        written.append(path)
    return written


def _words(index: PageIndex, seed: int) -> list[str]:
    """Words of a sample of pages, each as often as it stands there; a few of our own where there are none."""
    ids = index.page_ids()
    chosen = sorted(random.Random(f"words/{seed}").sample(ids, min(_SAMPLED, len(ids))))
    found = [word for page in chosen for word in index.page(page).text.split() if word.isascii() and len(word) < 30]
    return found or ["figure", "report", "table", "year"]
