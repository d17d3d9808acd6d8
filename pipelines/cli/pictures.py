"""The page that `visor search --open` and `--explain` write: each hit with its picture, and why it was found.

The explanation is what the index knows: the place each ranking gave the page, and where the query's words stand on it.
One self-contained HTML file without scripts or network; all text is untrusted and escaped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from visor_core.geometry import shown_size
from visor_core.index.passages import content_words
from visor_core.index.snippets import PREFIX
from visor_core.policies.base import ImageRef
from visor_core.trajectories.viewer_pictures import Mark, Pictures
from visor_core.trajectories.viewer_style import STYLE

if TYPE_CHECKING:
    from visor_core.geometry import Box
    from visor_core.index import Hit, Page, PageIndex

PIXELS = 900 * 700
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def write_search_page(folder: Path, index: PageIndex, query: str, hits: Sequence[Hit], *, explain: bool) -> Path:
    """Write the hits of a search as HTML into a folder; returns the path."""
    pictures = Pictures(index)
    cards = [_card(rank, hit, index.page(hit.page_id), query, pictures, explain) for rank, hit in enumerate(hits, 1)]
    name = hashlib.sha256(f"{index.tag} {query} {explain}".encode()).hexdigest()[:12]
    path = folder / f"search-{name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(_document(query, index.tag, cards, pictures.style), encoding="utf-8")
    partial.rename(path)
    return path


def matched_words(page: Page, query: str) -> list[Box]:
    """Boxes of the words of a page that share their start with a word of the query."""
    from visor_core.geometry import clamp

    terms = {word[:PREFIX] for word in content_words(query)}
    boxes = []
    for word in page.words:
        found = content_words(word.text)
        box = clamp(word.x0, word.y0, word.x1, word.y1)
        if box is not None and any(part[:PREFIX] in terms for part in found):
            boxes.append(box)
    return boxes


def _card(rank: int, hit: Hit, page: Page, query: str, pictures: Pictures, explain: bool) -> str:
    width, height = shown_size(page.width_pt, page.height_pt, 1, PIXELS)
    words = matched_words(page, query) if explain else []
    picture = pictures.picture(ImageRef(hit.page_id, width, height), [Mark(box) for box in words])
    places = ", ".join(f"{name} {place}" for name, place in sorted(hit.ranks.items(), key=lambda item: item[1]))
    why = ""
    if explain:
        why = (
            f"<p class=note>Place in each ranking: {escape(places)}. Words of the query on the page: {len(words)}."
            f" Text: {escape(page.text_source)}.</p>"
        )
    return (
        f'<section class="turn"><div class="num"><b>{rank}</b></div><div class="card grid"><div>'
        f'<div class="head"><b>{escape(hit.filename)}</b><span class="chip act">page {hit.page}</span>'
        f'<span class="sp"></span><span class="meta">score {hit.score:.4f}</span></div>'
        f'<p class="think">{escape(hit.snippet)}</p>{why}</div><div>{picture}</div></div></section>'
    )


def _document(query: str, tag: str, cards: Sequence[str], pictures: str) -> str:
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(query)}</title>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<style>{STYLE}\n{pictures}</style></head><body><main>"
        f'<div class="eyebrow">VISOR search</div><h1>{escape(query)}</h1><p class="meta">index {escape(tag)}</p>'
        f"{''.join(cards)}</main></body></html>"
    )
