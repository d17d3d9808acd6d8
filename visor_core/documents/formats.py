"""Which files are documents, and which of them are made into a PDF before they are read.

PDFs and pictures are read as they are. Office files are printed to a PDF by LibreOffice, web pages, Markdown and EPUB
are laid out by MuPDF (`converter`). The original stays the document: its bytes are its identity.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path, PurePath
from urllib.parse import quote

from visor_core.errors import DocumentError

PICTURES = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/tiff": "TIFF",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/jp2": "JPEG2000",
    "image/avif": "AVIF",
    "image/heic": "HEIF",
}
"""Pictures that are read, by their media type, as Pillow names them; HEIC needs the extra `heic`."""
OFFICE = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".odg": "application/vnd.oasis.opendocument.graphics",
    ".doc": "application/msword",
    ".xls": "application/vnd.ms-excel",
    ".ppt": "application/vnd.ms-powerpoint",
    ".rtf": "application/rtf",
}
"""What LibreOffice prints, by the suffix that it is given."""
LAID_OUT = {
    ".epub": "application/epub+zip",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
}
"""What MuPDF lays out. Web pages and Markdown have no mark in their bytes: their suffix tells them."""
CONVERTED = frozenset({*OFFICE.values(), *LAID_OUT.values()})
"""Media types of documents that are read from a PDF made of them."""
SUFFIXES = frozenset(
    {".pdf", ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".jp2", ".avif", ".heic", ".heif"}
    | OFFICE.keys()
    | LAID_OUT.keys()
)
"""Files a folder contributes; a file named on its own is read whatever its suffix."""
KINDS = "PDF, pictures (PNG, JPEG, WebP, TIFF, GIF, BMP, JPEG 2000, AVIF, HEIC), office files, EPUB, HTML and Markdown"
"""What is read, in words."""
ATTACHED = "#attachment="
"""In the address of a document, before its name: it is attached to the document with the address before."""
_OPEN_XML = (("word/", ".docx"), ("xl/", ".xlsx"), ("ppt/", ".pptx"))
_OLD_OFFICE = (".doc", ".xls", ".ppt")
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif"} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "image/heic"
)
HEAD = 1024
"""First bytes of a file that tell what it is."""
_MOST_MEMBERS = 20_000


def media_type(head: bytes) -> str | None:
    """What the first bytes (1,024 are enough) say a file is that is read as it is; None for anything else."""
    # Before the search for a PDF's header, which may stand further in: a picture's comment may quote one.
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "image/tiff"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "image/bmp"
    if head.startswith((b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "image/jp2"
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return _BRANDS[head[8:12]]
    return "application/pdf" if b"%PDF-" in head[:1024] else None


def media_type_of(path: Path) -> str | None:
    """The same of a file.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return media_type(file.read(HEAD))


def is_converted(head: bytes, filename: str) -> bool:
    """Whether a file with these first bytes is made into a PDF before it is read, if it can be read at all."""
    if media_type(head) is not None:
        return False
    packed = head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"{\\rtf"))
    return packed or PurePath(filename).suffix.lower() in (LAID_OUT.keys() - {".epub"})


def suffix_of(data: bytes, filename: str) -> str:
    """The suffix that says what a file is which `is_converted`, a key of `OFFICE` or `LAID_OUT`.

    Raises:
        DocumentError: if it is a container of another kind.
    """
    given = PurePath(filename).suffix.lower()
    if data.startswith(b"{\\rtf"):
        return ".rtf"
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise DocumentError("the office file is encrypted: store it without its password, or print it to a PDF")
        if given in _OLD_OFFICE:
            return given
        raise DocumentError(f"an office file of before 2007 is told by its suffix, one of {', '.join(_OLD_OFFICE)}")
    if not data.startswith(b"PK"):
        return given
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()[:_MOST_MEMBERS]
            told = archive.open("mimetype").read(100).decode("latin-1").strip() if "mimetype" in names else ""
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise DocumentError(f"the file is a damaged container: {error}") from error
    for suffix, kind in (OFFICE | LAID_OUT).items():
        if told.removesuffix("-template") == kind:
            return suffix
    for folder, suffix in _OPEN_XML:
        if any(name.startswith(folder) for name in names):
            return suffix
    raise DocumentError("the file is an archive and no document: unpack it, and ingest what is in it")


def attachment_uri(uri: str, name: str) -> str:
    """The address of a file that is attached to a document."""
    return f"{uri}{ATTACHED}{quote(name, safe='')}"


def heic_is_read() -> bool:
    """Whether HEIC pictures can be read here: the extra `heic` is installed."""
    return importlib.util.find_spec("pillow_heif") is not None
