"""An ingest into a file system that fills up; shared by a test and the long measurement (bench_robustness)."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.killing import INDEX, contents
from visor_core.config import DocumentsConfig
from visor_core.documents.pool import WorkerPool
from visor_core.errors import VisorError
from visor_core.index import Corpus, build_index, load_embedders, register_documents, render_pages
from visor_core.index.upkeep import verify

DOCUMENTS = DocumentsConfig(ocr="never", image_format="png", workers=2)


@contextmanager
def small_disk(megabytes: float) -> Iterator[Path | None]:
    """A tmpfs of that size; None where this machine may not mount one."""
    mount = Path(tempfile.mkdtemp(prefix="visor-full-"))
    options = ["-o", f"size={round(megabytes * 1024)}k"]
    mounted = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", mount], capture_output=True, check=False)
    try:
        yield mount if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", mount], check=True)
        mount.rmdir()


def _ingest(root: Path, files: list[Path], pool: WorkerPool) -> None:
    corpus = Corpus(root)
    register_documents(corpus, files, DOCUMENTS, pool=pool)
    render_pages(corpus, DOCUMENTS, pool=pool)
    build_index(corpus, INDEX, load_embedders(INDEX))


def faults_of_full_disks(work: Path, sizes: Sequence[float]) -> dict[float, tuple[str, list[str]] | None]:
    """Ingest into disks of so many MiB, make room, ingest again, and compare with an undisturbed ingest.

    Returns:
        For each size the message the full disk gave and what was wrong then or afterwards; None where nothing can be
        mounted.
    """
    files = [write_pdf(work / "disk" / f"{n}.pdf", [f"{n} {i} " * 40 for i in range(20)]) for n in range(8)]
    with WorkerPool(DOCUMENTS.workers) as pool:
        _ingest(work / "undisturbed", files, pool)
    expected = contents(work / "undisturbed")
    return {size: _faults(files, size, expected) for size in sizes}


def _faults(
    files: list[Path], megabytes: float, expected: dict[str, list[dict[str, Any]]]
) -> tuple[str, list[str]] | None:
    # The workers, which keep a document open, end before the disk is taken away.
    with small_disk(megabytes) as disk, WorkerPool(DOCUMENTS.workers) as pool:
        if disk is None:
            return None
        message, faults = "", []
        try:
            _ingest(disk / "corpus", files, pool)
            faults.append(f"{megabytes} MiB did not fill")
        except VisorError as error:
            message = str(error)
        if "is full: free some space and run again" not in message or "\n" in message:
            faults.append(f"the message is {message!r}")
        subprocess.run(["mount", "-o", "remount,size=512m", disk], check=True)
        _ingest(disk / "corpus", files, pool)
        if contents(disk / "corpus") != expected:
            faults.append("after making room the tables differ from those of an undisturbed ingest")
        faults += verify(Corpus(disk / "corpus"), deep=True)
        faults += [f"{path.name} is left" for path in (disk / "corpus").rglob("*.partial")]
        return message, faults
