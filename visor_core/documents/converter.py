"""The process that makes a PDF of a document of another kind, or takes the files out that are attached to one.

Started by `converting` with the source, a folder of its own and the document's file name, and confined like a document
worker. It leaves `out.pdf`, or files by number, and `told.json` there: the media type, the names, or the fault.
LibreOffice runs without macros, links to elsewhere and network, and with a profile that is as fresh as the folder; web
pages and books are laid out by MuPDF, which loads nothing that they name.
"""

from __future__ import annotations

import html
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from visor_core.documents.confinement import confine
from visor_core.documents.formats import LAID_OUT, OFFICE, suffix_of
from visor_core.errors import DocumentError

OUTPUT, TOLD, ATTACHMENTS = "out.pdf", "told.json", "attachments"
MOST_ATTACHMENTS = 1000
"""More files of one document are not taken."""
MOST_TOLD = 2**20
"""Bytes of what it tells."""
_SETTINGS: dict[str, dict[str, int | bool]] = {
    "org.openoffice.Office.Common/Security/Scripting": {
        "MacroSecurityLevel": 3, "DisableMacrosExecution": True, "BlockUntrustedRefererLinks": True,
    },
    "org.openoffice.Office.Writer/Content/Update": {"Link": 2},
    "org.openoffice.Office.Calc/Content/Update": {"Link": 1},
    "org.openoffice.Setup/Office": {"ooSetupInstCompleted": True},
}  # fmt: skip
"""No macros whoever signed them, nothing loaded that a document links to (2 is "never", in Calc 1), and no wizard."""
_PAGE = (595.0, 842.0, 11.0)
"""Points: a page of A4, and the size of its letters."""
_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([A-Za-z0-9_\-]+)""")
_STYLE = "<style>table { border-collapse: collapse } td, th { border: 1px solid #888; padding: 2px 6px }</style>"


def main() -> None:
    """Convert what the arguments name."""
    source, folder, filename, program = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    memory_bytes, file_bytes = int(sys.argv[5]), int(sys.argv[6])
    largest = max(file_bytes, MOST_TOLD)
    # PyMuPDF imports its layout models if it can; nothing here uses them.
    sys.modules["pymupdf.layout"] = None  # type: ignore[assignment]
    confine(folder)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    told: dict[str, object] = {}
    try:
        if program == ATTACHMENTS:
            told["names"] = _taken_out(source, folder, sys.stdin.read(), file_bytes)
            return
        data = source.read_bytes()
        suffix = suffix_of(data, filename)
        told["media_type"] = (OFFICE | LAID_OUT)[suffix]
        if suffix in OFFICE:
            _printed(source, folder, suffix, program)
        else:
            (folder / OUTPUT).write_bytes(laid_out(data, suffix))
    except DocumentError as error:
        told["fault"] = str(error)
    except MemoryError:
        told["fault"] = f"making a PDF of it needs more than documents.memory_bytes = {memory_bytes:,}"
    finally:
        (folder / TOLD).write_text(json.dumps(told))


def _taken_out(source: Path, folder: Path, password: str, most_bytes: int) -> list[str]:
    """Write the files that are attached to a PDF, each under its number; their names.

    Raises:
        DocumentError: if the PDF cannot be opened, or they are larger than a document may be.
    """
    import pymupdf

    try:
        with pymupdf.open(source, filetype="pdf") as pdf:
            if pdf.needs_pass and not (password and pdf.authenticate(password)):
                return []  # why it is not read is told when it is opened
            names: list[str] = []
            size = 0
            for key in pdf.embfile_names()[:MOST_ATTACHMENTS]:
                info = pdf.embfile_info(key)
                data = pdf.embfile_get(key)
                size += len(data)
                if size > most_bytes:
                    raise DocumentError(f"its attachments are larger than documents.max_bytes = {most_bytes:,}")
                (folder / str(len(names))).write_bytes(data)
                names.append(str(info.get("ufilename") or info.get("filename") or key))
            return names
    except (pymupdf.FileDataError, pymupdf.mupdf.FzErrorBase, RuntimeError, ValueError) as error:
        raise DocumentError(f"its attachments cannot be read: {' '.join(str(error).split())[:200]}") from error


def _printed(source: Path, folder: Path, suffix: str, program: str) -> None:
    """Have LibreOffice print an office file.

    Raises:
        DocumentError: if it is not there, or does not read the file.
    """
    if not program:
        raise DocumentError(
            f"{suffix[1:].upper()} files are read through LibreOffice, which is not on the PATH: install it "
            "(`apt install libreoffice`, or from libreoffice.org) and ingest again"
        )
    given = folder / f"in{suffix}"
    given.symlink_to(source)
    fresh = folder / "fresh"
    (fresh / "user").mkdir(parents=True)
    (fresh / "user" / "registrymodifications.xcu").write_text(_registry())
    environment = os.environ | {"HOME": str(folder), "TMPDIR": str(folder), "SAL_USE_VCLPLUGIN": "svp"}
    environment.pop("DISPLAY", None)
    start = [program, "--headless", "--norestore", "--nologo", "--nodefault", "--nolockcheck"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "env": environment, "cwd": folder}
    # A fresh profile makes it want to be started again, and that finds, under the same one, the first start's socket.
    begun = [*start, f"-env:UserInstallation={fresh.as_uri()}", "--terminate_after_init"]
    subprocess.run(begun, check=False, stderr=subprocess.DEVNULL, **quiet)  # type: ignore[call-overload]
    profile = Path(shutil.copytree(fresh, folder / "profile"))
    call = [
        *start,
        f"-env:UserInstallation={profile.as_uri()}",
        "--convert-to",
        "pdf",
        "--outdir",
        str(folder),
        str(given),
    ]
    ended = subprocess.run(call, check=False, stderr=subprocess.PIPE, **quiet)  # type: ignore[call-overload]
    made = folder / "in.pdf"
    if ended.returncode == 0 and made.is_file():
        made.rename(folder / OUTPUT)
        return
    said = " ".join(ended.stderr.decode(errors="replace").replace(str(given), "it").split())[:200]
    reason = said or (f"exit code {ended.returncode}" if ended.returncode else "it was not read")
    raise DocumentError(f"LibreOffice makes no PDF of it: {reason}")


def _registry() -> str:
    """LibreOffice's settings as the file of a user's profile that overrides its own."""
    items = "".join(
        f'<item oor:path="/{path}"><prop oor:name="{name}" oor:op="fuse">'
        f"<value>{json.dumps(value)}</value></prop></item>"
        for path, settings in _SETTINGS.items()
        for name, value in settings.items()
    )
    spaces = 'xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema"'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<oor:items {spaces}>{items}</oor:items>\n'


def laid_out(data: bytes, suffix: str) -> bytes:
    """A web page, Markdown or a book on pages of A4, as the bytes of a PDF; the same bytes give the same.

    Raises:
        DocumentError: if MuPDF makes nothing of it.
    """
    import pymupdf

    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    kind = "epub" if suffix == ".epub" else "html"
    if suffix in (".md", ".markdown"):
        data = _html_of(data).encode()
    elif kind == "html":
        data = _decoded(data).encode()
    try:
        with pymupdf.open(stream=data, filetype=kind) as document:
            width, height, size = _PAGE
            document.layout(width=width, height=height, fontsize=size)
            contents = document.get_toc(simple=True)
            title = str((document.metadata or {}).get("title") or "")
            made = document.convert_to_pdf()
        with pymupdf.open(stream=made, filetype="pdf") as pdf:
            pdf.set_metadata({"title": title})
            pdf.set_toc([entry for entry in contents if 1 <= entry[2] <= pdf.page_count and entry[1].strip()])
            return bytes(pdf.tobytes(deflate=True, no_new_id=True))
    except MemoryError:
        raise
    except (pymupdf.FileDataError, pymupdf.mupdf.FzErrorBase, RuntimeError, ValueError, IndexError) as error:
        raise DocumentError(f"no pages can be made of it: {' '.join(str(error).split())[:200]}") from error


def _html_of(data: bytes) -> str:
    """Markdown (CommonMark with tables) as a web page; HTML in it counts as text."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    text = _decoded(data)
    tokens = parser.parse(text)
    heading = next((after for token, after in itertools.pairwise(tokens) if token.type == "heading_open"), None)
    title = "".join(part.content for part in (heading.children or ()) if part.content) if heading else ""
    body = parser.renderer.render(tokens, parser.options, {})
    return f"<html><head><title>{html.escape(title)}</title>{_STYLE}</head><body>{body}</body></html>"


def _decoded(data: bytes) -> str:
    """Text by its byte order mark, else by the character set that it names, else as UTF-8, else as Windows-1252."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    named = _CHARSET.search(data[:2048])
    for encoding in filter(None, (named and named[1].decode(), "utf-8")):
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return data.decode("windows-1252", errors="replace")
