"""Pictures for the metadata of an asset: PNGs inside markdown, the only form in which Dagster's page shows one."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from assets_defs.machinery.links import file_link, home_of_build

if TYPE_CHECKING:
    from PIL import Image

    from visor_core.geometry import Box

LONGEST_SIDE = 640
SAMPLES = "samples"
"""Folder of a build with pictures and pages of sample episodes."""


def as_markdown(image: Image.Image, caption: str) -> dg.MarkdownMetadataValue:
    """A picture with its caption, at most `LONGEST_SIDE` pixels a side."""
    shown = image.convert("RGB")
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    shown.quantize(64).save(buffer, format="PNG", optimize=True)
    return _picture(buffer.getvalue(), caption)


def _picture(png: bytes, caption: str) -> dg.MarkdownMetadataValue:
    encoded = base64.b64encode(png).decode()
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
    """One small plot a name over `step`, one line a phase; names that no row carries are left out."""
    from visor_core.training.curves import curve_image

    image = curve_image(rows, names)
    return as_markdown(image, caption) if image else dg.MetadataValue.md(f"{caption}: no step was recorded")


def episodes(folder: Path) -> dict[str, dg.MarkdownMetadataValue]:
    """The sample episodes that a worker drew into its build folder, one entry each."""
    found = sorted((folder / SAMPLES).glob("episode-*.png"))
    shown = {}
    for number, path in enumerate(found, start=1):
        picture = _picture(path.read_bytes(), f"episode {number}")
        page = file_link(home_of_build(folder), path.with_suffix(".html"))
        shown[f"sample_{number}"] = dg.MetadataValue.md(f"{picture.md_str}\n\n[its page]({page})")
    return shown


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


def sample_rows(store: Path, count: int = 8) -> list[dict[str, object]]:
    """A few episodes of a store as rows: the question, each action, the answer."""
    from visor_core.trajectories.store import read_sample

    return [
        {
            "question": t.question.question,
            "actions": " → ".join(turn.action.kind for turn in t.turns),
            "evidence": "; ".join(entry.observation for entry in t.standing_evidence),
            "answer": t.answer,
            "expected": ", ".join(t.question.answers),
        }
        for t in read_sample(store, count)
    ]
