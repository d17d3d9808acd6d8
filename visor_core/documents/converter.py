"""The process that makes a PDF of a document of another kind, in a folder of its own, confined like a document worker.

Started by `converting` with the source, the folder and the document's file name. It leaves `out.pdf` and `told.json`
there: the media type, or the fault. LibreOffice runs without macros, links to elsewhere, network, and with a profile
that is as fresh as the folder; web pages and books are laid out by MuPDF, which loads nothing that they name.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

from visor_core.documents.confinement import confine
from visor_core.documents.formats import LAID_OUT, OFFICE, suffix_of
from visor_core.errors import DocumentError

OUTPUT, TOLD = "out.pdf", "told.json"
_SETTINGS = {
    "org.openoffice.Office.Common/Security/Scripting": {
        "MacroSecurityLevel": 3, "DisableMacrosExecution": True, "BlockUntrustedRefererLinks": True,
    },
    "org.openoffice.Office.Writer/Content/Update": {"Link": 2},
    "org.openoffice.Office.Calc/Content/Update": {"Link": 1},
    "org.openoffice.Setup/Office": {"ooSetupInstCompleted": True},
}  # fmt: skip
"""No macros whoever signed them, nothing loaded that a document links to (2 is "never", in Calc 1), and no wizard."""
_RESTART = 81
"""With which LibreOffice ends when it wants to be started again."""
_PAGE = (595.0, 842.0, 11.0)
"""Points: a page of A4, and the size of its letters."""
_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([A-Za-z0-9_\-]+)""")
_STYLE = "<style>table { border-collapse: collapse } td, th { border: 1px solid #888; padding: 2px 6px }</style>"


def main() -> None:
    """Convert what the arguments name."""
    source, folder, filename, program = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    memory_bytes, file_bytes = int(sys.argv[5]), int(sys.argv[6])
    # PyMuPDF imports its layout models if it can; nothing here uses them.
    sys.modules["pymupdf.layout"] = None  # type: ignore[assignment]
    confine(folder)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    try:
        data = source.read_bytes()
        suffix = suffix_of(data, filename)
        if suffix in OFFICE:
            _printed(source, folder, suffix, program)
        else:
            (folder / OUTPUT).write_bytes(laid_out(data, suffix))
        told = {"media_type": (OFFICE | LAID_OUT)[suffix]}
    except DocumentError as error:
        told = {"fault": str(error)}
    except MemoryError:
        told = {"fault": f"making a PDF of it needs more than documents.memory_bytes = {memory_bytes:,}"}
    (folder / TOLD).write_text(json.dumps(told))


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
    profile = folder / "profile" / "user"
    (profile / "extensions").mkdir(parents=True)
    (profile / "registrymodifications.xcu").write_text(_registry())
    environment = os.environ | {"HOME": str(folder), "TMPDIR": str(folder), "SAL_USE_VCLPLUGIN": "svp"}
    environment.pop("DISPLAY", None)
    start = [program, "--headless", "--norestore", "--nologo", "--nodefault", "--nolockcheck"]
    start.append(f"-env:UserInstallation={profile.parent.as_uri()}")
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "env": environment, "cwd": folder}
    # Without this it wants to be started again for every fresh profile, and a second start finds the first one's socket.
    subprocess.run([*start, "--terminate_after_init"], check=False, stderr=subprocess.DEVNULL, **quiet)  # type: ignore
    call = [*start, "--convert-to", "pdf", "--outdir", str(folder), str(given)]
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
        f'<item oor:path="/{path}"><prop oor:name="{name}" oor:op="fuse"><value>{json.dumps(value)}</value></prop></item>'
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

    text = _decoded(data)
    title = next((line.strip("# \t") for line in text.splitlines() if line.startswith("#")), "")
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    head = f"<title>{MarkdownIt().renderInline(title) if title else ''}</title>"
    return f"<html><head>{head}{_STYLE}</head><body>{parser.render(text)}</body></html>"


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
