"""Why a page was found: its picture, ranks, matching words, and the similarity map of a multi-vector embedder.

A similarity map (ColPali, arXiv 2407.01449) is the dot product of a query token with every image patch, laid over the
page. The HTML stands alone: pictures are embedded, text from documents is escaped.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from visor_core.index.corpus import quoted
from visor_core.index.embedders.base import PatchEmbedder
from visor_core.index.marks import boxes
from visor_core.index.page_links import PageLinks
from visor_core.index.records import Hit, Page
from visor_core.index.search import Mode, PageIndex
from visor_core.policies.base import ImageRef

_NOTHING = "<p>No page was found. Fewer or other words, a page's own spelling, or another corpus may find one.</p>"
_PICTURE_PIXELS = 900 * 1200


@dataclass(frozen=True, slots=True)
class Explanation:
    """A hit with what speaks for it; `similarity` is (rows, columns) in 0–1, None without a multi-vector embedder."""

    hit: Hit
    page: Page
    similarity: npt.NDArray[np.float32] | None


def explain(
    index: PageIndex, query: str, *, k: int = 5, mode: Mode = "hybrid", partition: str = "", document: str | None = None
) -> list[Explanation]:
    """Search, and say for every hit why it is one."""
    hits = index.search(query, k=k, mode=mode, partition=partition, document=document)
    maps = similarity_maps(index, query, [hit.page_id for hit in hits])
    return [Explanation(hit, index.page(hit.page_id), maps.get(hit.page_id)) for hit in hits]


def similarity_maps(index: PageIndex, query: str, page_ids: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
    """Per page, the largest similarity of any query token to each patch, scaled to 0–1 over the page.

    By the first multi-vector embedder that knows where on a page its vectors belong; empty without one.
    """
    for vector in index.manifest.vectors:
        embedder = index.embedder(vector) if vector.multi_vector and page_ids else None
        if embedder is not None and isinstance(embedder, PatchEmbedder):
            tokens_q = np.asarray(embedder.embed_query(query), np.float32)
            rows = index.vectors(vector, f"page_id IN ({quoted(page_ids)})")
            return {
                page_id: similarity_map(tokens_q, tokens, embedder.patch_tokens(index.embedded_picture(page_id)))
                for page_id, tokens in rows.items()
            }
    return {}


def similarity_map(
    query: npt.NDArray[np.float32], tokens: npt.NDArray[np.float32], patches: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """(Q, D) query tokens, (T, D) page tokens, (R, C) positions of patches in T → (R, C), scaled to 0–1."""
    found = (query @ tokens.T).max(axis=0)[patches]
    low, high = float(found.min()), float(found.max())
    return ((found - low) / (high - low) if high > low else np.zeros_like(found)).astype(np.float32)


def page_html(index: PageIndex, query: str, explanations: Sequence[Explanation]) -> str:
    """One self-contained HTML page for a search."""
    links = PageLinks(index)
    shown = "\n".join(_section(index, query, e, links(e.hit.page_id)) for e in explanations) or _NOTHING
    mapped = any(e.similarity is not None for e in explanations)
    count = "1 page" if len(explanations) == 1 else f"{len(explanations)} pages"
    legend = "Orange: words of the query" + ("; blue: where the embedder looks." if mapped else ".")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(query)} – VISOR search</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1f24 }}
section {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.5rem;
  margin: 2rem 0; border-top: 1px solid #d0d7de; padding-top: 1rem }}
h1, h2, p {{ overflow-wrap: anywhere }}
img {{ width: 100%; border: 1px solid #d0d7de }}
code {{ overflow-wrap: anywhere }}
table {{ border-collapse: collapse }} td, th {{ padding: .1rem .8rem .1rem 0; text-align: left }}
</style></head><body><main>
<h1 dir="auto">{html.escape(query)}</h1>
<p>Index <code>{html.escape(index.tag)}</code>, {count}. {legend}</p>
{shown}
</main></body></html>
"""


def _section(index: PageIndex, query: str, explanation: Explanation, link: str) -> str:
    hit = explanation.hit
    ranks = "".join(f"<tr><td>{html.escape(n)}</td><td>{r}</td></tr>" for n, r in hit.ranks.items())
    picture = base64.b64encode(_jpeg(overlay(index, query, explanation))).decode()
    opened = f'<p><a href="{html.escape(link)}">open the document at this page</a></p>' if link else ""
    return f"""<section><div><h2 dir="auto">{html.escape(hit.filename)}, page {hit.page}</h2>
<p dir="auto">{html.escape(hit.snippet) or "<em>no text on this page</em>"}</p>
<table><tr><th>ranking</th><th>place</th></tr>{ranks}</table>
<p>score {hit.score:.4f}, text from {html.escape(explanation.page.text_source)},
<code>{html.escape(hit.page_id)}</code></p>
{opened}</div><img alt="page {hit.page}" src="data:image/jpeg;base64,{picture}"></section>"""


def overlay(index: PageIndex, query: str, explanation: Explanation) -> Image.Image:
    """The page with the similarity map over it and the query's words marked."""
    page = explanation.page
    scale = math.sqrt(_PICTURE_PIXELS / (page.width_pt * page.height_pt))
    size = max(1, round(page.width_pt * scale)), max(1, round(page.height_pt * scale))
    image = index(ImageRef(page.page_id, *size)).copy()
    if explanation.similarity is not None:
        heat = Image.fromarray((explanation.similarity * 150).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        image.paste(Image.new("RGB", size, (30, 90, 220)), mask=heat)
    draw: Any = ImageDraw.Draw(image, "RGBA")
    for x0, y0, x1, y1 in boxes(page.words, query):
        corners = (x0 * size[0] - 1, y0 * size[1] - 1, x1 * size[0] + 1, y1 * size[1] + 1)
        draw.rectangle(corners, fill=(255, 140, 0, 90))
    return image


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
