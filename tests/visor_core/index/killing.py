"""Ingests killed at random moments; shared by a short test and the long measurement (bench_robustness)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.documents.pool import WorkerPool
from visor_core.index import Corpus, build_index, load_embedders, register_documents, render_pages
from visor_core.index.corpus import KEYS, rows
from visor_core.index.upkeep import verify

_INGEST = """
import sys
from pathlib import Path
from tests.visor_core.index import killing
print("begun", flush=True)
killing.ingest(Path(sys.argv[1]), Path(sys.argv[2]))
"""
DOCUMENTS = DocumentsConfig(ocr="never", dpi=72, workers=2)
INDEX = IndexConfig(embedders=("hash:128",))


def ingest(root: Path, folder: Path) -> None:
    """All three stages."""
    corpus = Corpus(root)
    with WorkerPool(DOCUMENTS.workers) as pool:
        register_documents(corpus, [folder], DOCUMENTS, pool=pool)
        render_pages(corpus, DOCUMENTS, pool=pool)
    build_index(corpus, INDEX, load_embedders(INDEX))


def contents(root: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, ordered by key, pictures and vectors included."""
    found = {}
    for name, key in KEYS.items():
        table = Corpus(root).table(name)
        found[name] = sorted(rows(table, table.schema.names), key=lambda r: r[key])
    return found


def kill_and_continue(root: Path, folder: Path, seconds: float) -> bool:
    """Start an ingest, kill its process group after `seconds`, run it again to its end.

    Returns:
        Whether the kill came before the ingest had ended.
    """
    process = _begin(root, folder)
    time.sleep(seconds)
    early = process.poll() is None
    if early:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
    ingest(root, folder)
    return early


def _begin(root: Path, folder: Path) -> subprocess.Popen[str]:
    """A process that has imported everything and is ingesting."""
    command = [sys.executable, "-c", _INGEST, str(root), str(folder)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def faults_after_kills(base: Path, folder: Path, kills: int, seed: int) -> list[str]:
    """Differences between `kills` killed and continued ingests and an undisturbed one.

    Every kill hits a running ingest: one that came after the end is tried again from the start, at another moment.
    """
    process = _begin(base / "undisturbed", folder)
    start = time.monotonic()
    assert process.wait() == 0
    longest = time.monotonic() - start
    assert process.stdout is not None
    process.stdout.close()
    expected = contents(base / "undisturbed")
    random_ = random.Random(seed)
    faults = []
    for number in range(kills):
        root = base / f"killed-{number}"
        moment = random_.uniform(0.0, 1.0) * longest
        while not kill_and_continue(root, folder, moment):
            shutil.rmtree(root)
            moment = random_.uniform(0.0, 0.9) * moment
        if contents(root) != expected:
            faults.append(f"kill {number} at {moment:.2f} s: the tables differ")
        faults += [f"kill {number} at {moment:.2f} s: {fault}" for fault in verify(Corpus(root), deep=True)]
        faults += [f"kill {number}: {path.name} is left" for path in root.rglob("*.partial")]
        shutil.rmtree(root)
    return faults
