"""Kinds of documents: told by their bytes, made into PDFs in a confined process; every kind of picture that is read."""

from __future__ import annotations

import http.server
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import psutil
import pymupdf
import pytest
from PIL import Image

from visor_core.config import DocumentsConfig
from visor_core.documents import converting
from visor_core.documents.confinement import LANDLOCK, SECCOMP
from visor_core.documents.converting import ConversionError, attachments, convert, libreoffice, reading_needs
from visor_core.documents.formats import (
    CONVERTED,
    LAID_OUT,
    OFFICE,
    PICTURES,
    SUFFIXES,
    is_converted,
    media_type,
    suffix_of,
)
from visor_core.documents.pool import clean_environment, confinement_offered
from visor_core.documents.reader import open_document
from visor_core.errors import DocumentError

CONFIG = DocumentsConfig(timeout_seconds=60)
PAGE = (
    "<html><head><title>A year</title></head><body><h1>Figures</h1><p>Revenue caf\u00e9 {0}.</p>"
    "<table><tr><th>Year</th><th>Revenue</th></tr><tr><td>2018</td><td>{0}</td></tr></table></body></html>"
)
MARKDOWN = "# Figures of *2018*\n\nRevenue caf\u00e9 **4711**.\n\n| Year | Revenue |\n|---|---|\n| 2018 | 4711 |\n"
needs_libreoffice = pytest.mark.skipif(libreoffice() is None, reason="LibreOffice is not installed")


def _words(path: Path) -> list[str]:
    document = open_document(path)
    found = [w.text for page in range(1, document.num_pages + 1) for block in document.words(page) for w in block]
    document.close()
    return found


def _epub(path: Path) -> Path:
    container = (
        '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="c.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="2.0"><metadata/><manifest>'
        '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr("META-INF/container.xml", container)
        book.writestr("c.opf", package)
        book.writestr("a.xhtml", '<html xmlns="http://www.w3.org/1999/xhtml"><body><p>Revenue 4711</p></body></html>')
    return path


def _docx(path: Path, body: str, *, relations: str = "") -> Path:
    """A Word file by hand."""
    office = "application/vnd.openxmlformats-officedocument"
    schema = "http://schemas.openxmlformats.org"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{schema}/package/2006/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override '
            f'PartName="/word/document.xml" ContentType="{office}.wordprocessingml.document.main+xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{schema}/package/2006/relationships"><Relationship Id="r" '
            f'Target="word/document.xml" Type="{schema}/officeDocument/2006/relationships/officeDocument"/>'
            "</Relationships>",
        )
        if relations:
            archive.writestr(
                "word/_rels/document.xml.rels",
                f'<Relationships xmlns="{schema}/package/2006/relationships">{relations}</Relationships>',
            )
        archive.writestr(
            "word/document.xml",
            f'<w:document xmlns:w="{schema}/wordprocessingml/2006/main"><w:body>{body}</w:body></w:document>',
        )
    return path


PARAGRAPH = "<w:p><w:r><w:t>Revenue 4711</w:t></w:r></w:p>"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.html", PAGE.format(4711).encode()),
        ("a.htm", PAGE.format(4711).encode("windows-1252")),
        ("a.xhtml", PAGE.format(4711).encode("utf-16")),
        ("a.md", MARKDOWN.encode()),
        ("a.MARKDOWN", b"\xef\xbb\xbf" + MARKDOWN.encode()),
    ],
)
def test_web_pages_and_markdown_are_laid_out(tmp_path: Path, name: str, data: bytes) -> None:
    source = tmp_path / "bytes"
    source.write_bytes(data)
    assert is_converted(data[:1024], name)
    kind = convert(source, tmp_path / "made.pdf", name, CONFIG)
    assert kind == LAID_OUT[Path(name).suffix.lower()]
    assert reading_needs(kind).startswith("MuPDF")
    words = _words(tmp_path / "made.pdf")
    assert {"Figures", "Revenue", "caf\u00e9", "2018", "4711"} <= {w.strip(".") for w in words}
    with pymupdf.open(tmp_path / "made.pdf") as pdf:
        assert pdf.metadata["title"] == ("A year" if kind == "text/html" else "Figures of 2018")
        assert [entry[1] for entry in pdf.get_toc()][:1] == ["Figures" if kind == "text/html" else "Figures of 2018"]
    first = (tmp_path / "made.pdf").read_bytes()
    convert(source, tmp_path / "again.pdf", name, CONFIG)
    assert (tmp_path / "again.pdf").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.pdf", "bytes", "made.pdf"]


def test_a_book_is_laid_out(tmp_path: Path) -> None:
    assert convert(_epub(tmp_path / "b"), tmp_path / "made.pdf", "b", CONFIG) == "application/epub+zip"
    assert "4711" in _words(tmp_path / "made.pdf")


def test_html_in_markdown_is_text_and_nothing_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    asked, address = _server()
    image = f'<img src="{address}/x.png"><img src="secret.png"><script>alert(1)</script>'
    for name, text in (("a.html", f"<p>Here {image}</p>"), ("a.md", f"Here {image} ![p]({address}/y.png)")):
        (tmp_path / "in").write_text(text)
        convert(tmp_path / "in", tmp_path / "made.pdf", name, CONFIG)
        assert "Here" in _words(tmp_path / "made.pdf")
        assert ("<script>alert(1)</script>" in " ".join(_words(tmp_path / "made.pdf"))) == (name == "a.md")
    assert asked == []


def _server() -> tuple[list[str], str]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_OPTIONS = do_GET  # noqa: N815 — the library's names

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return asked, f"http://127.0.0.1:{server.server_address[1]}"


@needs_libreoffice
def test_office_files_are_printed_and_ask_nobody(tmp_path: Path) -> None:
    asked, address = _server()
    schema = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    field = f'<w:p><w:fldSimple w:instr="INCLUDEPICTURE {address}/x.png"/></w:p>'
    template = (
        f'<Relationship Id="t" Type="{schema}/attachedTemplate" Target="{address}/t.dotm" TargetMode="External"/>'
    )
    source = _docx(tmp_path / "bytes", PARAGRAPH + field, relations=template)
    sockets = set(Path("/tmp").glob("OSL_PIPE_*"))
    assert convert(source, tmp_path / "made.pdf", "plan.docx", CONFIG) == OFFICE[".docx"]
    assert _words(tmp_path / "made.pdf")[:2] == ["Revenue", "4711"]
    (tmp_path / "rtf").write_text("{\\rtf1 Revenue 4711}")
    assert convert(tmp_path / "rtf", tmp_path / "made.pdf", "plan.rtf", CONFIG) == OFFICE[".rtf"]
    assert _words(tmp_path / "made.pdf") == ["Revenue", "4711"]
    assert asked == []
    assert set(Path("/tmp").glob("OSL_PIPE_*")) <= sockets
    assert reading_needs(OFFICE[".docx"]).startswith("LibreOffice ")


def test_what_is_no_document_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    cases = {
        "plain.docx": ((tmp_path / "plain.zip").read_bytes(), "an archive and no document"),
        "torn.docx": (b"PK\x03\x04torn", "damaged container"),
        "old.bin": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "told by its suffix"),
        "locked.xlsx": (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le"),
            "is encrypted",
        ),
    }
    for name, (data, reason) in cases.items():
        (tmp_path / "bytes").write_bytes(data)
        assert is_converted(data[:1024], name)
        with pytest.raises(ConversionError, match=reason):
            convert(tmp_path / "bytes", tmp_path / "made.pdf", name, CONFIG)
    assert not (tmp_path / "made.pdf").exists()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that stands in for LibreOffice: what a taken-over one might do."""
    place = tmp_path / "bin" / "soffice"
    place.parent.mkdir()
    monkeypatch.setattr(converting, "libreoffice", lambda: place if place.exists() else None)
    return place


def _script(place: Path, text: str) -> None:
    place.write_text(f'#!/bin/sh\ncase "$*" in *terminate_after_init*) exit 0;; esac\n{text}\n')
    place.chmod(0o755)


def test_a_program_that_misbehaves_costs_one_document(tmp_path: Path, program: Path) -> None:
    source, target = _docx(tmp_path / "bytes", PARAGRAPH), tmp_path / "made.pdf"
    (tmp_path / "secret").write_text("%PDF-1.4 secret")
    cases = {
        "exit 0": "it was not read",
        "echo broken >&2; exit 5": "broken",
        f"ln -s {tmp_path}/secret in.pdf": "no PDF came of it",
        f"echo x > {tmp_path}/left; echo %PDF > in.pdf; sleep 60": "documents.timeout_seconds = 2",
        "rm -f told.json; ln -s /etc/passwd told.json; kill -9 $PPID": "making a PDF of it failed",
    }
    for text, reason in cases.items():
        _script(program, text)
        with pytest.raises(ConversionError, match=reason):
            convert(source, target, "a.docx", DocumentsConfig(timeout_seconds=2))
    assert not target.exists()
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "60"]]
    assert not list(tmp_path.glob(".convert*"))
    if LANDLOCK in confinement_offered():
        assert not (tmp_path / "left").exists()
    program.unlink()
    with pytest.raises(ConversionError, match=r"DOCX files are read through Libre.*, .*\(`apt install libreoffice`"):
        convert(source, target, "a.docx", CONFIG)


_ATTEMPTS = """
import json, os, socket, subprocess, sys
from pathlib import Path
from visor_core.documents.confinement import confine
folder = Path(sys.argv[1])
confine(folder)
def tried(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0
def bound():
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / "socket"))
print(json.dumps({
    "own": tried(lambda: (folder / "a").write_text("x")),
    "program": tried(lambda: subprocess.run(["true"], check=True)),
    "local": tried(bound),
    "other": tried(lambda: (folder.parent / "b").write_text("x")),
    "remove": tried(lambda: (folder.parent / "kept").unlink()),
    "network": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
    "datagram": tried(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)),
    "connect": tried(lambda: socket.socket(socket.AF_UNIX).connect(str(folder / "socket"))),
    "trace": subprocess.run([sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).ptrace(0, 0, 0, 0))"],
                            capture_output=True, text=True).stdout.strip(),
}))
"""


@pytest.mark.skipif({LANDLOCK, SECCOMP} - {*confinement_offered()} != set(), reason="the kernel offers not both")
def test_what_converts_writes_nowhere_else_and_reaches_nobody(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "kept").touch()
    call = [sys.executable, "-c", _ATTEMPTS, str(tmp_path / "own")]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=clean_environment())
    told = json.loads(done.stdout)
    assert [told.pop(allowed) for allowed in ("own", "program", "local")] == [0, 0, 0]
    assert told.pop("trace") == "-1"
    assert set(told.values()) <= {1, 13}, told
    assert not (tmp_path / "b").exists()


def test_attachments_are_taken_out(tmp_path: Path) -> None:
    with pymupdf.open() as pdf:
        pdf.new_page()
        for name in ("a.pdf", "../../a.pdf", "b.md"):
            pdf.embfile_add(f"key {name}", name.encode(), filename=name)
        pdf.save(tmp_path / "open.pdf")
        pdf.save(tmp_path / "locked.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="p", owner_pw="p")
    for file, password, count in (("open", "", 3), ("locked", "p", 3), ("locked", "wrong", 0)):
        with attachments(tmp_path / f"{file}.pdf", tmp_path, CONFIG, password) as found:
            assert [(name, path.read_bytes().decode()) for name, path in found] == [
                (name, name) for name in ("a.pdf", "../../a.pdf", "b.md")
            ][:count]
            assert all(path.parent.parent == tmp_path for _, path in found)
    with (
        pytest.raises(ConversionError, match=r"attachments are larger than documents\.max_bytes = 12"),
        attachments(tmp_path / "open.pdf", tmp_path, DocumentsConfig(max_bytes=12), ""),
    ):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["locked.pdf", "open.pdf"]


@pytest.mark.parametrize("suffix", [".gif", ".bmp", ".jp2", ".avif", ".webp", ".heic"])
def test_pictures_of_every_kind(tmp_path: Path, suffix: str) -> None:
    image = Image.new("RGB", (60, 40), "white")
    image.paste("black", (0, 0, 20, 40))
    if suffix == ".heic":
        if importlib.util.find_spec("pillow_heif") is None:
            head = b"\x00\x00\x00\x18ftypheic" + bytes(100)
            (tmp_path / "a").write_bytes(head)
            with pytest.raises(DocumentError, match=r"HEIC .*\[heic\].*ingest again"):
                open_document(tmp_path / "a")
            return
        import pillow_heif

        pillow_heif.register_heif_opener()
    image.save(tmp_path / f"a{suffix}")
    shutil.move(tmp_path / f"a{suffix}", tmp_path / "a")
    kind = media_type((tmp_path / "a").read_bytes()[:1024])
    assert kind in PICTURES
    assert suffix in SUFFIXES
    document = open_document(tmp_path / "a")
    drawn = document.render(1, 60, 40).convert("L")
    document.close()
    assert (document.num_pages, drawn.getpixel((5, 20)) < 60, drawn.getpixel((50, 20)) > 200) == (1, True, True)


def test_transparency_lies_on_white_in_strips_too(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 2500), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 2000, 4, 2500))
    image.save(tmp_path / "a.png")
    drawn = open_document(tmp_path / "a.png").render(1, 4, 2500)
    assert [drawn.getpixel((1, y)) for y in (0, 1100, 1999, 2000, 2499)] == [(255, 255, 255)] * 3 + [(255, 0, 0)] * 2


@pytest.mark.slow
def test_a_picture_of_110_megapixels_is_read(tmp_path: Path) -> None:
    from visor_core.documents.messages import RenderedPage, Validated
    from visor_core.documents.pool import WorkerPool
    from visor_core.documents.worker import Task
    from visor_core.index.validating import limits_of

    Image.new("RGB", (11_000, 10_000), "navy").save(tmp_path / "large.png", compress_level=1)
    config = DocumentsConfig()
    told = []
    with WorkerPool(1) as pool:
        for pages in (None, (1,)):
            task = Task(
                "k", tmp_path / "large.png", "large.png", "pymupdf", limits_of(config), config.memory_bytes, pages=pages
            )
            told += list(pool.run([(task, 120.0)]))
    kinds = [type(message) for message in told]
    assert kinds[0] is Validated
    assert isinstance(told[2], RenderedPage), told
    assert (told[2].problem, told[2].image_width) == ("", round((24_000_000 * 1.1) ** 0.5))


def test_tables_of_kinds_agree() -> None:
    assert {*OFFICE.values(), *LAID_OUT.values()} == CONVERTED
    assert not CONVERTED & PICTURES.keys()
    assert all(suffix_of(b"text", f"a{suffix}") == suffix for suffix in LAID_OUT if suffix != ".epub")
    assert not is_converted(b"text", "a.txt")
    assert not is_converted(b"%PDF-1.4", "a.html")
