"""Documents of other kinds made into PDFs, and attachments taken out, each in a process with limits (`converter`).

A PDF lies beside the copy of the original, under its hash. What the process leaves is taken only if it is a plain
file of the size that is allowed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from visor_core.config import DocumentsConfig
from visor_core.documents.converter import ATTACHMENTS, MOST_ATTACHMENTS, MOST_TOLD, OUTPUT, TOLD
from visor_core.documents.formats import CONVERTED, LAID_OUT, OFFICE, heic_is_read
from visor_core.documents.pool import clean_environment
from visor_core.errors import DocumentError

_CONVERT = "from visor_core.documents.converter import main; main()"
_MAC = Path("/Applications/LibreOffice.app/Contents/MacOS/soffice")


class ConversionError(DocumentError):
    """No PDF can be made of a document. `media_type` is its kind, empty where that is not known."""

    def __init__(self, reason: str, media_type: str = "") -> None:
        super().__init__(reason)
        self.media_type = media_type


def libreoffice() -> Path | None:
    """LibreOffice's program: the one that does the work where it lies beside what the PATH names; None without it."""
    found = shutil.which("soffice") or shutil.which("libreoffice") or (str(_MAC) if _MAC.is_file() else None)
    if found is None:
        return None
    program = Path(found).resolve()
    inner = program.with_name("soffice.bin")
    return inner if inner.is_file() else program


@functools.cache
def reading_needs(media_type: str) -> str:
    """What of this machine decides whether a document of a kind is read, and how; empty for most kinds."""
    if media_type == "image/heic":
        return f"HEIC {heic_is_read()}"
    if media_type in LAID_OUT.values():
        return f"MuPDF {importlib.metadata.version('pymupdf')}"
    if media_type not in OFFICE.values():
        return ""
    program = libreoffice()
    release = program.with_name("versionrc") if program else None
    lines = release.read_text().splitlines() if release and release.is_file() else []
    build = next((line.partition("=")[2] for line in lines if line.startswith("buildid=")), "")
    return f"LibreOffice {build}".strip() if program else "no LibreOffice"


def is_read_here(media_type: str) -> bool:
    """Whether this machine has what documents of a kind are read with."""
    if media_type == "image/heic":
        return heic_is_read()
    return media_type not in OFFICE.values() or libreoffice() is not None


def convert(source: Path, target: Path, filename: str, config: DocumentsConfig) -> str:
    """Make a PDF of a document and put it at `target`, whole or not at all.

    Args:
        source: its bytes.
        target: where the PDF goes.
        filename: by which kinds are told that have no mark of their own.
        config: the limits of time, memory and size.

    Returns:
        The media type of the original.

    Raises:
        ConversionError: if no PDF can be made of it, with the reason.
    """
    with _working(target.parent) as folder:
        told = _run(source, folder, filename, str(libreoffice() or ""), config, "making a PDF of it")
        if told.get("media_type") not in CONVERTED or not _is_plain(folder / OUTPUT):
            raise ConversionError("no PDF came of it")
        (folder / OUTPUT).rename(target)
        return str(told["media_type"])


@contextlib.contextmanager
def attachments(source: Path, place: Path, config: DocumentsConfig, password: str) -> Iterator[list[tuple[str, Path]]]:
    """The files that are attached to a PDF, as (name, path); they are there as long as the context is.

    Args:
        source: the PDF.
        place: a folder that can be written.
        config: the limits of time, memory and size.
        password: of the PDF; empty if it has none.

    Raises:
        ConversionError: if they cannot be taken out, with the reason.
    """
    with _working(place) as folder:
        told = _run(source, folder, "", ATTACHMENTS, config, "taking out its attachments", password)
        names = told.get("names")
        names = names[:MOST_ATTACHMENTS] if isinstance(names, list) else []
        found = [(str(name), folder / str(number)) for number, name in enumerate(names)]
        yield [(name, path) for name, path in found if _is_plain(path)]


@contextlib.contextmanager
def _working(place: Path) -> Iterator[Path]:
    """A folder for one process, which the next writer of a corpus removes if this one is killed."""
    with tempfile.TemporaryDirectory(prefix=f".convert.{os.getpid()}.", suffix=".partial", dir=place) as name:
        yield Path(name).absolute()


def _run(
    source: Path, folder: Path, filename: str, program: str, config: DocumentsConfig, doing: str, secret: str = ""
) -> dict[str, Any]:
    """What the process tells, once it has ended.

    Raises:
        ConversionError: if it tells of a fault, or nothing, or has not ended in time.
    """
    call = [sys.executable, "-c", _CONVERT, str(source.absolute()), str(folder), filename, program]
    process = subprocess.Popen(
        [*call, str(config.memory_bytes), str(config.max_bytes)],
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.communicate(secret.encode(), timeout=config.timeout_seconds)
    except subprocess.TimeoutExpired:
        raise ConversionError(
            f"{doing} took longer than documents.timeout_seconds = {config.timeout_seconds:g}"
        ) from None
    finally:
        _end(process)
        _sweep()
    path = folder / TOLD
    try:
        told = json.loads(path.read_bytes()) if _is_plain(path) and path.stat().st_size <= MOST_TOLD else None
    except ValueError:
        told = None
    if not isinstance(told, dict) or not told:
        raise ConversionError(
            f"{doing} failed (exit code {process.returncode}); it may need more than "
            f"documents.memory_bytes = {config.memory_bytes:,}"
        )
    if isinstance(fault := told.get("fault"), str):
        raise ConversionError(fault[:400], str(told["media_type"]) if told.get("media_type") in CONVERTED else "")
    return told


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process and of what it started."""
    left: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        left = psutil.Process(process.pid).children(recursive=True)
    for kill in (lambda: os.killpg(process.pid, signal.SIGKILL), *(child.kill for child in left)):
        try:
            kill()
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    process.wait()


def _is_plain(path: Path) -> bool:
    """Whether a file of the process's own lies there, and no link to one of somebody else."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _sweep() -> None:
    """Remove the sockets by which LibreOffice told of itself, and could not remove: nobody listens on them."""
    listening = set()
    table = Path("/proc/net/unix")
    if table.is_file():
        listening = {line.split()[-1] for line in table.read_text().splitlines() if "OSL_PIPE_" in line}
        for path in Path("/tmp").glob(f"OSL_PIPE_{os.getuid()}_SingleOfficeIPC_*"):
            if str(path) not in listening:
                path.unlink(missing_ok=True)
