"""A small real index in memory: pages of words, ranked by shared words, drawn as pictures. For tests of the agent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from visor_core.documents.reader import Word
from visor_core.policies.base import ImageRef


@dataclass(frozen=True)
class SmallPage:
    page_id: str
    filename: str
    page: int
    text: str
    width_pt: float = 612.0
    height_pt: float = 792.0
    partition: str = ""


class SmallIndex:
    """Ranks by the number of shared words, ties in page order; draws each page's words in black on white."""

    def __init__(self, pages: Sequence[SmallPage], tag: str = "test") -> None:
        self.tag = tag
        self.pages = {p.page_id: p for p in pages}
        self.queries: list[str] = []

    def search(
        self, query: str, *, k: int = 10, mode: str = "hybrid", partition: str = "", where: Sequence[str] = ()
    ) -> list[SmallPage]:
        self.queries.append(query)
        words = set(query.lower().split())
        scored = [
            (len(words & set(p.text.lower().split())), p) for p in self.pages.values() if p.partition == partition
        ]
        return [p for score, p in sorted(scored, key=lambda s: -s[0]) if score > 0][:k]

    def words(self, page_ids: Iterable[str]) -> dict[str, tuple[Word, ...]]:
        """None: its words have no boxes."""
        return {}

    def page(self, page_id: str) -> SmallPage:
        return self.pages[page_id]

    def __call__(self, ref: ImageRef) -> Image.Image:
        page = self.pages[ref.page_id]
        picture = Image.new("RGB", (400, round(400 * page.height_pt / page.width_pt)), "white")
        ImageDraw.Draw(picture).multiline_text((20, 20), "\n".join(page.text.split()), fill="black")
        w, h = picture.size
        box = (ref.box.x0 * w, ref.box.y0 * h, ref.box.x1 * w, ref.box.y1 * h)
        return picture.resize((ref.width, ref.height), box=box)


def pages_of(*texts: str, filename: str = "report.pdf", partition: str = "") -> list[SmallPage]:
    """Pages 1… of one document, one text each."""
    return [
        SmallPage(f"{filename.split('.')[0]}/{n:05d}", filename, n, text, partition=partition)
        for n, text in enumerate(texts, start=1)
    ]
