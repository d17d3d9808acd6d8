"""Pictures for the metadata of an asset: PNGs inside markdown, the only form in which Dagster's page shows one."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from PIL import Image

    from visor_core.geometry import Box

LONGEST_SIDE = 640


def as_markdown(image: Image.Image, caption: str) -> dg.MarkdownMetadataValue:
    """A picture with its caption, at most `LONGEST_SIDE` pixels a side."""
    shown = image.convert("RGB")
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    shown.quantize(64).save(buffer, format="PNG", optimize=True)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return dg.MetadataValue.md(f"{_cell(caption)}\n\n![](data:image/png;base64,{encoded})")


def page_with_words(
    raster: Image.Image, words: Sequence[Box], gold: Sequence[Box] = (), *, caption: str
) -> dg.MarkdownMetadataValue:
    """A page with a thin box around each word of its text, and a thick one around each gold region."""
    from PIL import ImageDraw

    image = raster.convert("RGB")
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for boxes, colour, line in ((words, (30, 110, 220), 1), (gold, (214, 40, 40), 4)):
        for box in boxes:
            x0, y0, x1, y1 = box.as_tuple()
            draw.rectangle((x0 * width, y0 * height, x1 * width, y1 * height), outline=colour, width=line)
    return as_markdown(image, f"{caption}: {len(words)} words")


def curve(rows: Sequence[Mapping[str, object]], names: Sequence[str], caption: str) -> dg.MarkdownMetadataValue:
    """One small plot a name over `step`; names that no row carries are left out."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from PIL import Image

    series = {
        name: [(float(r["step"]), float(r[name])) for r in rows if name in r and "step" in r]  # type: ignore[arg-type]
        for name in names
    }
    series = {name: points for name, points in series.items() if points}
    if not series:
        return dg.MetadataValue.md(f"{caption}: no step was recorded")
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(3.2 * len(series), 2.4), dpi=100, layout="constrained")
        for axes, (name, points) in zip(figure.subplots(1, len(series), squeeze=False)[0], series.items(), strict=True):
            axes.plot(*zip(*points, strict=True), color="#1e6edc")
            axes.set_title(name)
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return as_markdown(Image.open(buffer), caption)


def table(rows: Sequence[Mapping[str, object]]) -> dg.MarkdownMetadataValue:
    """A markdown table; all rows have the columns of the first."""
    if not rows:
        return dg.MetadataValue.md("none")
    columns = list(rows[0])
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(_cell(row.get(column, "")) for column in columns) for row in rows]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def _cell(value: object) -> str:
    """A value as one line that cannot break out of its cell; document text is untrusted."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())[:200]
    for sign in "\\`*_{}[]<>|!":
        text = text.replace(sign, f"&#{ord(sign)};")
    return text
