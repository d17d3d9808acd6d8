"""Query latency, p50 and p95, of full text and hybrid search at 1,000, 10,000 and 100,000 synthetic pages.

Each query is asked once, so nothing comes from the memory of earlier searches; no goal is set.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.synthetic_corpus import build, zipf_texts
from visor_core.config import IndexConfig
from visor_core.index import PageIndex, load_embedders

SIZES = (1_000, 10_000, 100_000)
QUERIES = 60


def main(home: Path, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    """Measure all sizes."""
    results, raw = [], []
    for pages in sizes:
        folder = home / "bench" / "corpora" / f"latency-{pages}"
        shutil.rmtree(folder, ignore_errors=True)
        texts = zipf_texts(pages, 150, seed=pages)
        config = IndexConfig(embedders=("hash:256",))
        began = time.perf_counter()
        corpus, _ = build(folder, texts, config, load_embedders(config))
        built = time.perf_counter() - began
        random = np.random.default_rng(0)
        queries = [" ".join(random.choice(texts[int(random.integers(pages))].split(), 6)) for _ in range(2 * QUERIES)]
        index = PageIndex.open(corpus.root)
        for mode, asked in (("text", queries[:QUERIES]), ("hybrid", queries[QUERIES:])):
            index.search("warm up", mode=mode)  # type: ignore[arg-type]
            seconds = []
            for query in asked:
                began = time.perf_counter()
                index.search(query, mode=mode)  # type: ignore[arg-type]
                seconds.append(time.perf_counter() - began)
            p50, p95 = (1e3 * float(np.percentile(seconds, q)) for q in (50, 95))
            raw.append({"pages": pages, "mode": mode, "p50_ms": p50, "p95_ms": p95, "build_seconds": built})
            print(raw[-1])
            name = f"{mode} query, {pages} pages, p50 (p95 {p95:.0f} ms)"
            results.append({"name": name, "value": round(p50, 1), "unit": "ms", "goal": "", "met": True})
        shutil.rmtree(folder)
    return {"results": results, "raw": raw}
