"""How page pictures are stored: time of rendering and bytes a page, what is lost, how long a first look takes, recall.

All ways in one run over the same real pages, in turn. Full text never looks at a picture, so recall is that of the nano
retriever, which does: alone, over pages of the small world that are stored in each way. It is left out where no run has
made a retriever under VISOR_HOME.
"""

from __future__ import annotations

import shutil
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from assets_defs.machinery.builds import find_record
from assets_defs.machinery.stage import Node
from tests.benchmarks.bench_ingest import CORES, DATA, processor_seconds
from visor_core.config import DocumentsConfig, Home, IndexConfig, NanoConfig, load_profile
from visor_core.documents.pool import WorkerPool
from visor_core.errors import DataError
from visor_core.evaluation.page_recall import measure_page_recall
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages
from visor_core.nano.questions import make_questions
from visor_core.nano.world import write_world

WAYS = {
    "jpeg, quality 85": {"image_format": "jpeg", "jpeg_quality": 85},
    "jpeg, quality 60": {"image_format": "jpeg", "jpeg_quality": 60},
    "webp, quality 85": {"image_format": "webp", "jpeg_quality": 85},
    "webp, quality 60": {"image_format": "webp", "jpeg_quality": 60},
    "png": {"image_format": "png"},
    "none, drawn when looked at": {"image_format": "none"},
}
LOOKS = 60
"""Pages that are looked at, each for the first time, by a process that has just opened the corpus."""
PROFILE = Path(__file__).resolve().parents[2] / "pipelines" / "profiles" / "nano.yaml"
QUESTIONS = 256


def main(home: Path, files: int = 40) -> dict[str, Any]:
    """Measure every way."""
    if not DATA.is_dir():
        raise DataError("../shared/data/mmlongbench-doc is not there: this measurement needs it")
    work = home / "bench" / "corpora" / "pictures"
    shutil.rmtree(work, ignore_errors=True)
    raw: dict[str, dict[str, float]] = {}
    for number, (way, settings) in enumerate(WAYS.items()):
        raw[way] = stored(
            work / str(number),
            sorted(DATA.glob("*.pdf"))[:files],
            DocumentsConfig.model_validate({"ocr": "never", "workers": CORES, **settings}),
        )
        print(way, {name: round(value, 2) for name, value in raw[way].items()})
    exact = PageIndex.open(work / str([*WAYS].index("png")))
    for number, way in enumerate(WAYS):
        raw[way]["difference"] = difference(exact, PageIndex.open(work / str(number)))
    retriever = find_record(Home(home), Node("retriever"))
    if retriever is not None:
        for way, settings in WAYS.items():
            raw[way]["recall_at_1"] = seen_recall(work / "nano" / way, retriever.folder(Home(home)), settings)
            print(way, "recall@1 by pictures", round(raw[way]["recall_at_1"], 3))
    shutil.rmtree(work)
    units = {
        "work_ms": ("ingest, processor time", "ms a page"),
        "kib": ("pictures on disk", "KiB a page"),
        "first_p50_ms": ("first look, p50", "ms"),
        "first_p95_ms": ("first look, p95", "ms"),
        "difference": ("mean difference from png", "of 255"),
        "recall_at_1": ("recall@1 by pictures alone, nano", "share"),
    }
    results = [
        {"name": f"{way}: {name}", "value": round(found[key], 3), "unit": unit, "goal": "", "met": True}
        for way, found in raw.items()
        for key, (name, unit) in units.items()
        if key in found
    ]
    return {"results": results, "raw": raw}


def stored(root: Path, files: list[Path], config: DocumentsConfig) -> dict[str, float]:
    """Render all pages and look at some."""
    corpus = Corpus(root)
    began, worked = time.perf_counter(), processor_seconds()
    with WorkerPool(config.workers) as pool:
        register_documents(corpus, files, config, pool=pool)
        pages = render_pages(corpus, config, pool=pool).rendered
    seconds, worked = time.perf_counter() - began, processor_seconds() - worked
    build_index(corpus, IndexConfig(), [])
    size = sum(path.stat().st_size for path in (root / "lancedb" / "images.lance").rglob("*") if path.is_file())
    with closing(PageIndex.open(root)) as index:
        page_ids = index.page_ids()
        looks = []
        for page_id in page_ids[:: max(1, len(page_ids) // LOOKS)]:
            look = time.perf_counter()
            index.raster(page_id)
            looks.append(1e3 * (time.perf_counter() - look))
    return {
        "pages": pages,
        "wall_ms": 1e3 * seconds / pages,
        "work_ms": 1e3 * worked / pages,
        "kib": size / 1024 / pages,
        "first_p50_ms": float(np.percentile(looks, 50)),
        "first_p95_ms": float(np.percentile(looks, 95)),
    }


def difference(exact: PageIndex, other: PageIndex, looks: int = 20) -> float:
    """Mean absolute difference of pictures, of 255."""
    page_ids = exact.page_ids()
    found = [
        np.abs(np.asarray(exact.raster(i), np.float32) - np.asarray(other.raster(i), np.float32)).mean()
        for i in page_ids[:: max(1, len(page_ids) // looks)]
    ]
    return float(np.mean(found))


def seen_recall(root: Path, retriever: Path, settings: dict[str, Any]) -> float:
    """Recall@1 of the retriever alone over a development corpus of the small world."""
    profile = load_profile(PROFILE)
    documents = profile.documents.model_copy(update=settings)
    index_config = IndexConfig(embedders=(f"late:{retriever / 'model'}",), mode="vector")
    world = write_world(root / "files", "development", NanoConfig(development_corpora=1), seed=0)
    corpus = Corpus(root / "corpus")
    register_documents(corpus, list(world.files), documents, partition_of=lambda path: path.parent.name)
    render_pages(corpus, documents)
    build_index(corpus, index_config, load_embedders(index_config), documents=documents)
    with closing(PageIndex.open(corpus.root)) as index:
        found = measure_page_recall(
            "late",
            lambda question, k: [hit.page_id for hit in index.search(question.question, k=k, mode="vector")],
            make_questions(world, QUESTIONS, seed=3),
            cuts=(1,),
        )
    return found.recall[1]
