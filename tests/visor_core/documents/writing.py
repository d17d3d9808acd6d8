"""Small real documents for the tests of documents and index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pymupdf
from PIL import Image, ImageDraw


def write_pdf(
    path: Path,
    pages: Sequence[str],
    *,
    size: tuple[float, float] = (400, 300),
    rotation: int = 0,
    password: str = "",
    title: str = "",
) -> Path:
    """A PDF with one text a page, at (40, 60) in 14 pt, lines separated by newlines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = pymupdf.open()
    for text in pages:
        page = document.new_page(width=size[0], height=size[1])
        if text:
            page.insert_text((40, 60), text, fontsize=14)
        page.set_rotation(rotation)
    document.set_metadata({"title": title})
    options = {"encryption": pymupdf.PDF_ENCRYPT_AES_256, "user_pw": password} if password else {}
    document.save(path, no_new_id=True, **options)
    document.close()
    return path


def write_picture(path: Path, text: str = "", size: tuple[int, int] = (320, 200), **options: object) -> Path:
    """A white picture with a black square at the upper left and, if given, a text."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size[0] // 4, size[1] // 4), fill="black")
    if text:
        draw.text((size[0] // 3, size[1] // 2), text, fill="black", font_size=28)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def write_raw_pdf(path: Path, content: bytes, font: Sequence[bytes], *, box: bytes = b"[0 0 500 300]") -> Path:
    """A PDF of one page with this content stream; `font` are the objects of the font F1, from object 5 on."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox " + box + b" /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        stream(content),
        *font,
    ]
    out, offsets = bytearray(b"%PDF-1.7\n"), []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out)
    return path


def stream(content: bytes, entries: bytes = b"") -> bytes:
    """A stream object."""
    return b"<< /Length %d " % len(content) + entries + b">>\nstream\n" + content + b"\nendstream"


def mapped_font(mapping: Mapping[int, str]) -> list[bytes]:
    """Helvetica whose codes stand for other characters, by a ToUnicode map, as two objects from number 5 on."""
    pairs = [b"<%02x> <%s>" % (code, text.encode("utf-16-be").hex().encode()) for code, text in mapping.items()]
    cmap = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
        b"1 begincodespacerange <00> <FF> endcodespacerange\n"
        b"%d beginbfchar\n" % len(pairs) + b"\n".join(pairs) + b"\nendbfchar\nendcmap end end"
    )
    return [b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>", stream(cmap)]


def nameless_font() -> tuple[list[bytes], Callable[[str], bytes]]:
    """A font that does not say which characters its glyphs are, as objects from number 5 on; and text → its codes."""
    font = pymupdf.Font("helv")
    objects = [
        b"<< /Type /Font /Subtype /Type0 /BaseFont /ABCDEF+X /Encoding /Identity-H /DescendantFonts [6 0 R] >>",
        b"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /ABCDEF+X /CIDSystemInfo"
        b" << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /FontDescriptor 7 0 R /DW 500 >>",
        b"<< /Type /FontDescriptor /FontName /ABCDEF+X /Flags 4 /FontBBox [0 0 1000 1000] /ItalicAngle 0"
        b" /Ascent 800 /Descent -200 /CapHeight 700 /StemV 80 /FontFile3 8 0 R >>",
        stream(font.buffer, b"/Subtype /OpenType "),
    ]
    return objects, lambda text: b"<" + b"".join(b"%04x" % font.has_glyph(ord(c)) for c in text) + b">"
