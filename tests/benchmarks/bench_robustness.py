"""Difficult PDFs, mutated PDFs, kills and a full disk: every document ends as pages or quarantined with a reason.

The 223 files of ../shared/data/pdfjs through both renderers, 500 mutations of valid PDFs, 20 SIGKILLs at random moments
each followed by a re-run, and ingests into file systems too small for them (where this machine may mount one).
"""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path
from typing import Any

from tests.visor_core.documents.writing import write_pdf
from tests.visor_core.index.filling import faults_of_full_disks
from tests.visor_core.index.killing import faults_after_kills
from visor_core.config import DocumentsConfig
from visor_core.index import Corpus, register_documents, render_pages

PDFJS = Path(__file__).resolve().parents[3] / "shared" / "data" / "pdfjs"
LIMIT_SECONDS = 20.0
DISKS = (0.03, 0.2, 1.0)
"""Sizes in MiB at which registering, rendering and building meet the end of the disk."""


def sweep(root: Path, files: list[Path], renderer: str) -> dict[str, Any]:
    """Ingest files; how each ended, and any that is neither pages nor quarantined with one line."""
    config = DocumentsConfig(ocr="never", timeout_seconds=LIMIT_SECONDS, page_seconds=0, renderer=renderer, dpi=72)  # type: ignore[arg-type]
    began = time.perf_counter()
    registered = register_documents(Corpus(root), files, config)
    rendered = render_pages(Corpus(root), config)
    quarantined = {r.filename: r.reason for r in (*registered.quarantined, *rendered.quarantined)}
    ended = rendered.documents + len(quarantined) + registered.duplicates
    faults = [f"{len(files)} files went in, {ended} came out"] if ended != len(files) else []
    faults += [f"{n}: {r!r} is no reason" for n, r in quarantined.items() if not r or "\n" in r or str(root) in r]
    if rendered.slowest[1] > LIMIT_SECONDS + 2:
        faults.append(f"{rendered.slowest[0]} took {rendered.slowest[1]:.1f} s of {LIMIT_SECONDS:g}")
    return {
        "renderer": renderer,
        "slowest": rendered.slowest,
        "files": len(files),
        "documents": rendered.documents,
        "pages": rendered.pages,
        "unreadable_pages": len(rendered.problems),
        "quarantined": quarantined,
        "seconds": time.perf_counter() - began,
        "faults": faults,
    }


def mutate(content: bytes, random_: random.Random) -> bytes:
    """A truncation, flipped bits, or two objects' contents swapped."""
    kind = random_.randrange(3)
    if kind == 0:
        return content[: random_.randrange(8, len(content))]
    changed = bytearray(content)
    if kind == 1:
        for _ in range(random_.randrange(1, 40)):
            changed[random_.randrange(8, len(changed))] ^= 1 << random_.randrange(8)
        return bytes(changed)
    starts = [i for i in range(len(content) - 4) if content[i : i + 4] == b" obj"]
    if len(starts) < 2:
        return bytes(changed[::-1])
    a, b = random_.sample(starts, 2)
    length = random_.randrange(4, 200)
    one, other = bytes(changed[a : a + length]), bytes(changed[b : b + length])
    changed[a : a + len(other)], changed[b : b + len(one)] = other, one
    return bytes(changed)


def mutations(folder: Path, originals: list[Path], count: int) -> list[Path]:
    """Mutated copies, each from its own seed."""
    folder.mkdir(parents=True)
    made = []
    for number in range(count):
        random_ = random.Random(number)
        path = folder / f"mutation-{number:03d}.pdf"
        path.write_bytes(mutate(random_.choice(originals).read_bytes(), random_))
        made.append(path)
    return made


def main(home: Path, mutated: int = 500, kills: int = 20) -> dict[str, Any]:
    """Run all of it."""
    work = home / "bench" / "corpora" / "robustness"
    shutil.rmtree(work, ignore_errors=True)
    originals = [write_pdf(work / "valid" / f"{n}.pdf", ["Zebras graze. " * (n + 1)] * 3) for n in range(5)]
    raw: dict[str, Any] = {}
    faults: list[str] = []
    if PDFJS.is_dir():
        files = sorted(PDFJS.glob("*.pdf"))
        originals += [f for f in files if f.stat().st_size < 200_000][::20]
        for renderer in ("pymupdf", "pdfium"):
            raw[f"pdfjs {renderer}"] = sweep(work / f"pdfjs-{renderer}", files, renderer)
    raw["mutations"] = sweep(work / "mutations", mutations(work / "mutated", originals, mutated), "pymupdf")
    for name, found in raw.items():
        faults += [f"{name}: {fault}" for fault in found["faults"]]
        print(name, {k: v for k, v in found.items() if k != "quarantined"}, f"quarantined {len(found['quarantined'])}")
    folder = work / "kill-files"
    for number in range(6):
        write_pdf(folder / f"{number}.pdf", [f"page {page} of document {number}" for page in range(10)])
    kill_faults = faults_after_kills(work, folder, kills, seed=0)
    raw["kills"] = {"kills": kills, "faults": kill_faults}
    raw["full disk"] = faults_of_full_disks(work / "full", DISKS)
    print(raw["kills"], raw["full disk"])
    disk_faults = [fault for found in raw["full disk"].values() if found for fault in found[1]]
    shutil.rmtree(work)
    return {
        "results": [
            {
                "name": "documents that ended as neither",
                "value": len(faults),
                "unit": "",
                "goal": "== 0",
                "met": not faults,
            },
            {
                "name": f"faults of {sum(f is not None for f in raw['full disk'].values())} full disks",
                "value": len(disk_faults),
                "unit": "",
                "goal": "== 0",
                "met": not disk_faults,
            },
            {
                "name": f"faults after {kills} kills",
                "value": len(kill_faults),
                "unit": "",
                "goal": "== 0",
                "met": not kill_faults,
            },
        ],
        "raw": raw,
    }
