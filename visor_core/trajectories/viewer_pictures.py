"""Pictures of a viewer page: each rasterised once, embedded once, drawn with boxes as often as wanted.

A picture is a style-sheet class with a data URL, so showing a page three times costs one copy and nothing is fetched.
It is rendered large enough for a person to read, not at the size the policy was shown.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from visor_core.errors import VisorError
from visor_core.geometry import FULL_PAGE, Box
from visor_core.policies.base import ImageLoader, ImageRef

READABLE_PIXELS = 640 * 820
"""Pixels at which a picture is embedded at least; what the policy saw may be smaller."""
LARGE_PIXELS = 1000 * 1290
"""The same of a page that an answer rests on."""
LONGEST_SIDE = 4096
"""Pixels a side to which a picture is enlarged at most: a page may be a hundred times as long as it is wide."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A rectangle drawn on a page: `style` is empty (this turn's crop), `past` or `gold`."""

    box: Box
    label: str = ""
    style: str = ""


class Pictures:
    """Collects the pictures of one HTML page."""

    def __init__(self, images: ImageLoader, *, readable_pixels: int = READABLE_PIXELS) -> None:
        self._images = images
        self._pixels = readable_pixels
        self._names: dict[tuple[str, Box], str] = {}
        self._rules: list[str] = []
        self._ratios: dict[tuple[str, Box], float] = {}
        self._lost: dict[tuple[str, Box], str] = {}

    @property
    def style(self) -> str:
        """The style-sheet rules that hold the pixels."""
        return "\n".join(self._rules)

    def figure(self, ref: ImageRef, caption: str, marks: Iterable[Mark] = (), *, max_width: int = 460) -> str:
        """A picture with rectangles, which are in page coordinates, and an escaped caption."""
        return (
            f'<figure style="flex:0 1 {max_width}px;max-width:{max_width}px">{self.picture(ref, marks)}'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )

    def large(self, ref: ImageRef, caption: str, marks: Iterable[Mark] = ()) -> str:
        """A picture to be read in detail, as wide as its place lets it; `caption` is HTML.

        Where it was shown smaller before, it is that copy.
        """
        return f"<figure>{self.picture(ref, marks, LARGE_PIXELS)}<figcaption>{caption}</figcaption></figure>"

    def picture(self, ref: ImageRef, marks: Iterable[Mark] = (), pixels: int = 0) -> str:
        """A picture with rectangles in page coordinates; what lies outside the shown part is not drawn.

        Args:
            pixels: at which it is embedded at least; 0 takes the page's own.
        """
        key = (ref.page_id, ref.box)
        if key not in self._names and key not in self._lost:
            self._add(key, ref, pixels or self._pixels)
        if key in self._lost:
            return f'<div class="pic lost">picture not available: {escape(self._lost[key])}</div>'
        drawn = "".join(_rectangle(mark, ref.box) for mark in marks)
        label = escape(f"page {ref.page_id}", quote=True)
        return (
            f'<div class="pic {self._names[key]}" role="img" aria-label="{label}" '
            f'style="aspect-ratio:{self._ratios[key]:.4f}">{drawn}</div>'
        )

    def _add(self, key: tuple[str, Box], ref: ImageRef, pixels: int) -> None:
        wanted = math.sqrt(pixels / (ref.width * ref.height))
        scale = max(1.0, min(wanted, LONGEST_SIDE / max(ref.width, ref.height)))
        large = ImageRef(ref.page_id, round(ref.width * scale), round(ref.height * scale), ref.box)
        try:
            picture = self._images(large)
        except (VisorError, KeyError) as error:
            self._lost[key] = str(error)
            return
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "WEBP", quality=82, method=4)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        name = f"p{len(self._names)}"
        self._names[key] = name
        self._ratios[key] = picture.width / picture.height
        self._rules.append(f".{name}{{background-image:url(data:image/webp;base64,{data})}}")


def _rectangle(mark: Mark, shown: Box) -> str:
    """One rectangle in per cent of the shown part."""
    x0, x1 = ((x - shown.x0) / shown.width * 100 for x in (mark.box.x0, mark.box.x1))
    y0, y1 = ((y - shown.y0) / shown.height * 100 for y in (mark.box.y0, mark.box.y1))
    if x1 <= 0 or y1 <= 0 or x0 >= 100 or y0 >= 100:
        return ""
    x0, y0, x1, y1 = max(0.0, x0), max(0.0, y0), min(100.0, x1), min(100.0, y1)
    style = f"left:{x0:.2f}%;top:{y0:.2f}%;width:{x1 - x0:.2f}%;height:{y1 - y0:.2f}%"
    # The label stands above the rectangle; where there is no room below it, and where there is none inside.
    place = "" if y0 >= 5 else " low" if y1 <= 95 else " inside"
    label = f"<em>{escape(mark.label)}</em>" if mark.label else ""
    return f'<div class="box {mark.style}{place}" style="{style}">{label}</div>'


def whole_page(ref: ImageRef) -> ImageRef:
    """The page a crop was cut from, at the proportions that the crop's shown size implies."""
    if ref.box == FULL_PAGE:
        return ref
    width = ref.width / ref.box.width
    height = ref.height / ref.box.height
    scale = math.sqrt(ref.width * ref.height / (width * height))
    return ImageRef(ref.page_id, max(1, round(width * scale)), max(1, round(height * scale)))
