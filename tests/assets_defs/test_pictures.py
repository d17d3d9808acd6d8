"""Pictures and tables of asset metadata."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from assets_defs.machinery.links import links_address
from assets_defs.machinery.pictures import SAMPLES, curve, episodes, page_with_words, table
from visor_core.config import Home
from visor_core.geometry import Box


def _image(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text.split("base64,")[1].rstrip(")"))))


def test_words_are_drawn_where_they_stand() -> None:
    page = Image.new("RGB", (100, 100), "white")
    drawn = page_with_words(page, [Box(0.5, 0.5, 0.9, 0.9)], caption="a page")
    image = _image(drawn.value or "").convert("RGB")
    assert image.getpixel((50, 70)) != (255, 255, 255)
    assert image.getpixel((20, 20)) == (255, 255, 255)


def test_a_large_page_is_shown_small() -> None:
    drawn = page_with_words(Image.new("RGB", (3000, 1000)), [], caption="a page")
    assert _image(drawn.value or "").size == (640, 213)


def test_text_cannot_leave_its_cell() -> None:
    text = table([{"question": "a | b\n# c <script>", "share": 0.25}]).value or ""
    assert text.count("\n") == 2
    assert "<script>" not in text
    assert "0.250" in text
    assert text.splitlines()[2].count("|") == 3


def test_a_curve_is_drawn_from_the_rows_that_have_the_value() -> None:
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 3, "other": 1.0}]
    assert _image(curve(rows, ("loss", "missing"), "loss").value or "").width > 100
    assert "no step" in (curve([], ("loss",), "loss").value or "")


def test_the_episodes_a_worker_drew_are_shown_as_they_are_with_a_link_to_their_pages(tmp_path: Path) -> None:
    home = Home(tmp_path)
    build = home.asset("sft_checkpoint", "0" * 16)
    assert episodes(build) == {}
    (build / SAMPLES).mkdir(parents=True)
    for number in (1, 2):
        Image.new("RGB", (1500, 400), "white").save(build / SAMPLES / f"episode-{number}.png")
    shown = episodes(build)
    assert list(shown) == ["sample_1", "sample_2"]
    assert _image(shown["sample_2"].value or "").size == (1500, 400)
    page = f"{links_address(home)}/files/assets/sft_checkpoint/{'0' * 16}/samples/episode-2.html"
    assert str(shown["sample_2"].value).endswith(f"[its page]({page})")
