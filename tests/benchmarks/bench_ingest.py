"""Ingest of real PDFs on two cores against a naive loop and bare rasterising, in one run; memory; re-runs.

Naive: open, `get_pixmap`, `tobytes("png")`, `get_text("words")`, one process; bare: `get_pixmap` alone, one process;
the bound is cores × that. Both run in turn, and the faster round of each counts. Beside it stands the same share in
processor time, which other programs on the machine hardly change: what the bound would come to if no core ever waited.
Memory is the largest sum of
proportional set sizes over the process tree, at 10 Hz, in processes of its own, because reading it takes a core's time.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.documents.pool import WorkerPool
from visor_core.errors import DataError
from visor_core.index import Corpus, build_index, register_documents, render_pages
from visor_core.index.embedders import load_embedders

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mmlongbench-doc" / "documents"
CORES = 2
ROUNDS = 2
CONFIG = DocumentsConfig(ocr="never", workers=CORES, dpi=144)
MEMORY_GOAL = 1.5 * 2**30


def pdf_library() -> Any:
    """PyMuPDF without its layout models: unused here, they would count as the ingest's memory."""
    sys.modules.setdefault("pymupdf.layout", None)  # type: ignore[arg-type]
    import pymupdf

    return pymupdf


class TreeMemory:
    """The largest memory of this process and its children while the block runs, in bytes."""

    def __enter__(self) -> TreeMemory:
        self.peak, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.1):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue  # it ended between listing and asking
            self.peak = max(self.peak, total)


def naive(files: list[Path], share: int) -> tuple[float, float, float]:
    """Seconds a page of the naive loop and of rasterising alone, and processor seconds of the latter.

    Over every `share`-th page.
    """
    pymupdf = pdf_library()
    pages, raster, rest, processor = 0, 0.0, 0.0, 0.0
    for path in files:
        with pymupdf.open(path) as document:
            for number in range(0, document.page_count, share):
                page = document[number]
                began, worked = time.perf_counter(), time.process_time()
                pixels = page.get_pixmap(dpi=144)
                between = time.perf_counter()
                processor += time.process_time() - worked
                pixels.tobytes("png")
                page.get_text("words")
                raster += between - began
                rest += time.perf_counter() - between
                pages += 1
    return (raster + rest) / pages, raster / pages, processor / pages


def processor_seconds() -> float:
    """What this process and those of its children that have ended have worked."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def ingest(root: Path, sources: list[Path]) -> tuple[float, int, float]:
    """Seconds, pages rendered and processor seconds of registering and rendering.

    By one pool of workers, as `visor ingest` does.
    """
    corpus = Corpus(root)
    began, worked = time.perf_counter(), processor_seconds()
    with WorkerPool(CONFIG.workers) as pool:
        register_documents(corpus, sources, CONFIG, pool=pool)
        rendered = render_pages(corpus, CONFIG, pool=pool).rendered
    return time.perf_counter() - began, rendered, processor_seconds() - worked


def main(home: Path, share: int = 1) -> dict[str, Any]:
    """Measure; `share` thins out the naive loop."""
    if not DATA.is_dir():
        raise DataError("../shared/data/mmlongbench-doc is not there: this measurement needs it")
    files = sorted(DATA.glob("*.pdf"))
    work = home / "bench" / "corpora" / "ingest"
    rounds = []
    for _ in range(ROUNDS):
        shutil.rmtree(work, ignore_errors=True)
        rounds.append((*ingest(work / "all", files), *naive(files, share)))
    pages = rounds[0][1]
    seconds, worked, naive_page, bare_page, bare_work = (min(r[i] for r in rounds) for i in (0, 2, 3, 4, 5))
    config = IndexConfig()
    build_index(Corpus(work / "all"), config, load_embedders(config))
    again = time.perf_counter()
    _, rendered_again, _ = ingest(work / "all", files)
    built = build_index(Corpus(work / "all"), config, load_embedders(config))
    again = time.perf_counter() - again
    changed = changed_pages(work, files)
    memory = memory_by_pages(work, files)
    shutil.rmtree(work)
    speedup, of_bare = naive_page * pages / seconds, bare_page * pages / seconds / CORES
    peak = max(memory.values())
    results = [
        line("ingest over the naive loop", speedup, "x", 3.5),
        line("ingest over cores × bare rasterising", of_bare, "share", 0.60),
        {
            "name": "bare rasterising over ingest, processor time",
            "value": round(bare_work * pages / worked, 3),
            "unit": "share",
            "goal": "",
            "met": True,
        },
        {
            "name": "ingest peak memory",
            "value": round(peak / 2**30, 3),
            "unit": "GiB",
            "goal": "<= 1.5",
            "met": peak <= MEMORY_GOAL,
        },
        {
            "name": "re-run over unchanged pages",
            "value": round(again, 2),
            "unit": "s",
            "goal": "<= 3, none rendered",
            "met": again <= 3 and rendered_again == 0 and not built.changed,
        },
        {
            "name": "one changed document of 40",
            "value": changed[1],
            "unit": "pages",
            "goal": f"== {changed[0]}",
            "met": changed[0] == changed[1],
        },
    ]
    for result in results:
        print(result)
    return {
        "results": results,
        "raw": {
            "pages": pages,
            "rounds": [
                {
                    "ingest": r[0],
                    "ingest_work": r[2],
                    "naive": r[3] * pages,
                    "bare": r[4] * pages,
                    "bare_work": r[5] * pages,
                }
                for r in rounds
            ],
            "pages_per_second": pages / seconds,
            "naive_pages_per_second": 1 / naive_page,
            "bare_pages_per_second": 1 / bare_page,
            "peak_bytes": peak,
            "peak_bytes_by_pages": memory,
        },
    }


def changed_pages(work: Path, files: list[Path]) -> tuple[int, int]:
    """Pages of a document that was changed, and pages rendered because of it."""
    folder = work / "files"
    folder.mkdir()
    for path in files:
        shutil.copyfile(path, folder / path.name)
    target = folder / files[0].name
    corpus = Corpus(work / "all")
    register_documents(corpus, [folder], CONFIG)
    with pdf_library().open(files[0]) as document:
        document.delete_page(0)
        document.save(target)
        pages = int(document.page_count)
    register_documents(corpus, [folder], CONFIG)
    return pages, render_pages(corpus, CONFIG).rendered


def memory_by_pages(work: Path, files: list[Path]) -> dict[str, int]:
    """Peak memory of ingesting all files, one document of 100 pages and one of 1,000."""
    pymupdf, sources = pdf_library(), {"all files": files}
    for pages in (100, 1_000):
        path = work / f"{pages}.pdf"
        with pymupdf.open() as document:
            while document.page_count < pages:
                for file in files:
                    with pymupdf.open(file) as part:
                        document.insert_pdf(part, to_page=min(part.page_count, pages - document.page_count) - 1)
                    if document.page_count >= pages:
                        break
            document.save(path)
        sources[f"{pages} pages"] = [path]
    return {name: peak_memory(work / f"memory-{n}", given) for n, (name, given) in enumerate(sources.items())}


def peak_memory(root: Path, sources: list[Path]) -> int:
    """Peak memory of an ingest in a fresh process, in bytes."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_ingest", str(root), *map(str, sources)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def line(name: str, value: float, unit: str, goal: float) -> dict[str, Any]:
    """One line of the summary, for a goal from below."""
    return {"name": name, "value": round(value, 3), "unit": unit, "goal": f">= {goal:g}", "met": value >= goal}


if __name__ == "__main__":
    with TreeMemory() as tree:
        ingest(Path(sys.argv[1]), [Path(source) for source in sys.argv[2:]])
    print(tree.peak)
