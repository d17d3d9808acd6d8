"""Pages in many scripts, with fonts that PyMuPDF brings: one word of each is red, so that its ink is known."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pymupdf
from PIL import Image


@dataclass(frozen=True)
class Sample:
    """A line: text before and after its red word, and queries that must find it; `font` is a script or a font name."""

    language: str
    font: str
    before: str
    red: str
    after: str
    queries: tuple[str, ...]
    right_to_left: bool = False


SAMPLES = (
    Sample(
        "zh", "china-s", "二零二三年公司", "净利润", "增长百分之十二，主要来自海外市场。", ("净利润", "利润", "净利")
    ),
    Sample("ja", "japan", "当社の", "売上高", "は前年比で増加し、営業利益も改善しました。", ("売上高", "売上")),
    Sample("ko", "korea", "회사의 ", "매출", "은 작년보다 증가했으며 영업이익도 개선되었습니다.", ("매출", "매출이")),
    Sample("th", "THAI", "บริษัทมีรายได้เพิ่มขึ้นและ", "กำไรสุทธิ", "สูงกว่าปีก่อน", ("กำไร", "กำไรสุทธิ")),
    Sample("ar", "ARABIC", "ارتفعت ", "إيرادات", " الشركة في العام الماضي", ("إيرادات", "ايرادات"), True),
    Sample("he", "HEBREW", "בשנת 2023 עלו ", "ההכנסות", " של החברה לעומת", ("ההכנסות", "הכנסות"), True),
    Sample("hi", "DEVANAGARI", "कंपनी की ", "वार्षिक", " आय पिछले वर्ष से बढ़ी है", ("वार्षिक",)),
    Sample("ru", "helv", "Годовая ", "выручка", " компании выросла в прошлом году", ("выручка", "выручки")),
    Sample("el", "helv", "Τα ετήσια ", "έσοδα", " της εταιρείας αυξήθηκαν", ("έσοδα", "ΕΣΟΔΑ")),
    Sample(
        "de",
        "helv",
        "Die ",
        "Versicherungsgesellschaft",
        " war im Jahr ertragreicher",
        ("gesellschaft", "Versicherung"),
    ),
    Sample("tr", "helv", "Fabrikada ", "ısıtma", " için İSTANBUL ofisinde ILIK su", ("ısıtma", "ISITMA", "isitma")),
)


def font_of(name: str) -> pymupdf.Font:
    """A font by its own name, or the one that MuPDF brings for a script."""
    script = getattr(pymupdf.mupdf, f"UCDN_SCRIPT_{name}", None)
    return pymupdf.Font(name) if script is None else pymupdf.Font(script=script, language="")


def write_sample(path: Path, sample: Sample) -> Path:
    """A page with the line of a sample, its red word in its place."""
    parts = [(sample.before, False), (sample.red, True), (sample.after, False)]
    if sample.right_to_left:
        parts = [(_as_drawn(text), red) for text, red in reversed(parts)]
    font, at = font_of(sample.font), pymupdf.Point(40, 100)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pymupdf.open() as document:
        page = document.new_page(width=560, height=300)
        for text, red in parts:
            writer = pymupdf.TextWriter(page.rect)
            _, at = writer.append(at, text, font=font, fontsize=16)
            writer.write_text(page, color=(1, 0, 0) if red else (0, 0, 0))
        document.save(path, no_new_id=True)
    return path


def red_box(image: Image.Image) -> tuple[float, float, float, float]:
    """Bounding box of red pixels as shares of the picture."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    ys, xs = np.nonzero((pixels[..., 0] > 150) & (pixels[..., 1] < 110) & (pixels[..., 2] < 110))
    height, width = pixels.shape[:2]
    return xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height


def _as_drawn(text: str) -> str:
    """Right-to-left text in the order of the paper, Arabic letters in the forms that join them; numbers stay."""
    words = [word if word.isdigit() else joined(word)[::-1] for word in text.split(" ")]
    return " ".join(reversed(words))


def joined(word: str) -> str:
    """An Arabic word in presentation forms, as old producers store it."""
    forms = _forms()
    drawn = ""
    for number, letter in enumerate(word):
        before = number > 0 and "initial" in forms.get(word[number - 1], {})
        after = number + 1 < len(word) and word[number + 1] in forms and "initial" in forms.get(letter, {})
        shape = {(0, 0): "isolated", (0, 1): "initial", (1, 1): "medial", (1, 0): "final"}[before, after]
        drawn += forms.get(letter, {}).get(shape, letter)
    return drawn


def _forms() -> dict[str, dict[str, str]]:
    """Presentation forms of Arabic letters by letter and shape."""
    found: dict[str, dict[str, str]] = {}
    for code in range(0xFE80, 0xFEF5):
        shape, *letters = unicodedata.decomposition(chr(code)).split()
        if len(letters) == 1:
            found.setdefault(chr(int(letters[0], 16)), {})[shape.strip("<>")] = chr(code)
    return found
