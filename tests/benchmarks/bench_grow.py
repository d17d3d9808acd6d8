"""One document of 10 pages into a corpus of 100,000 pages of real-like text: time, disk, and the cost of a commit.

The corpus is filled as an ingest leaves it but for its pictures; what is added is a PDF, by the three stages of
`visor ingest`. Its own size is that of a corpus that holds it alone. Twenty more documents then show whether an
addition costs more the more there were before.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from tests.benchmarks.bench_latency import write_pages
from tests.benchmarks.latency_script import fill
from tests.benchmarks.real_like import read_real
from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.documents.pool import WorkerPool
from visor_core.index import Corpus, build_index, keep_settings, load_embedders, register_documents, render_pages
from visor_core.index.render_keys import render_base
from visor_core.index.upkeep import compact

PAGES, ADDED_PAGES, MORE = 100_000, 10, 20
DOCUMENTS, INDEX = DocumentsConfig(ocr="never", workers=2), IndexConfig()


def main(home: Path, pages: int = PAGES, more: int = MORE) -> dict[str, Any]:
    """Fill, add one, compact, add others."""
    work = home / "bench" / "corpora" / "grow"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    real = read_real()
    files = [
        write_pdf(work / "files" / f"{n}.pdf", real.words[n * ADDED_PAGES :][:ADDED_PAGES]) for n in range(more + 1)
    ]
    with WorkerPool(DOCUMENTS.workers) as pool:
        add(Corpus(work / "alone"), files[0], pool)
        compact(Corpus(work / "alone"), keep=INDEX.keep_tags)
        own = size_of(work / "alone")
        corpus = Corpus(work / "large")
        write_pages(work / "pages.arrow", pages)
        keep_settings(corpus, documents=DOCUMENTS, index=INDEX)
        with pa.memory_map(str(work / "pages.arrow")) as source:
            fill(corpus, pa.ipc.open_file(source).read_all(), f"{render_base(DOCUMENTS)}-layer")
        began = time.perf_counter()
        build_index(corpus, INDEX, load_embedders(INDEX))
        built = time.perf_counter() - began
        filled = compact(corpus, keep=INDEX.keep_tags).bytes_after
        stages = add(corpus, files[0], pool)
        grown = size_of(corpus.root)
        after = compact(corpus, keep=INDEX.keep_tags)
        each = [sum(add(corpus, file, pool).values()) for file in files[1:]]
    shutil.rmtree(work)
    seconds, factor = sum(stages.values()), (after.bytes_after - filled) / own
    tenth = max(1, more // 4)
    slower = sum(each[-tenth:]) / sum(each[:tenth])
    results = [
        goal(f"one document of {ADDED_PAGES} pages into {pages:,}", seconds, "s", 3.0),
        goal("what it takes on the disk after compaction, over its own size", factor, "x", 2.0),
        goal(f"the last of {more} more additions over the first", slower, "x", 1.5),
        goal("compaction's growth of the disk", max(0, after.bytes_after - after.bytes_before), "bytes", 0),
    ]
    for result in results:
        print(result)
    raw = {"stages": stages, "own_bytes": own, "filled_bytes": filled, "grown_bytes": grown - filled}
    raw |= {"compacted_bytes": after.bytes_after - filled, "build_seconds": built, "each_seconds": each}
    print(raw)
    return {"results": results, "raw": raw}


def add(corpus: Corpus, file: Path, pool: WorkerPool) -> dict[str, float]:
    """Seconds of each stage for one more document."""
    marks = [time.perf_counter()]
    keep_settings(corpus, documents=DOCUMENTS, index=INDEX)
    register_documents(corpus, [file], DOCUMENTS, pool=pool)
    marks.append(time.perf_counter())
    render_pages(corpus, DOCUMENTS, pool=pool)
    marks.append(time.perf_counter())
    build_index(corpus, INDEX, load_embedders(INDEX))
    marks.append(time.perf_counter())
    return {name: marks[i + 1] - marks[i] for i, name in enumerate(("register", "render", "build"))}


def write_pdf(path: Path, pages: tuple[tuple[str, ...], ...]) -> Path:
    """A PDF of the words of real pages."""
    import pymupdf

    path.parent.mkdir(parents=True, exist_ok=True)
    with pymupdf.open() as document:
        for words in pages:
            page = document.new_page()
            page.insert_textbox((40, 40, 555, 800), " ".join(words), fontsize=7)
        document.save(path)
    return path


def size_of(folder: Path) -> int:
    """Bytes under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def goal(name: str, value: float, unit: str, most: float) -> dict[str, Any]:
    """One line of the summary, for a goal from above."""
    return {"name": name, "value": round(value, 3), "unit": unit, "goal": f"<= {most:g}", "met": value <= most}
