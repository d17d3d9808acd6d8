"""Latency of a default search at 10,000 and 100,000 pages of real-like text, beside that of an earlier version.

Both versions build a corpus of the same pages and answer the same queries, one after the other, each in a process of
its own; every query is asked once, so that nothing comes from memory. The earlier version is taken from the history of
this repository. Queries are words of one page: 6, 20, and the whole page repeated to 700.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from tests.benchmarks.real_like import read_real, real_like
from visor_core.errors import DataError
from visor_core.index.corpus import WORD

EARLIER = "c773eb6"
SIZES = (10_000, 100_000)
GOALS = {10_000: 2.5, 100_000: 8.0}
QUERIES = {6: 40, 20: 40, 700: 3}
"""Queries by their words."""
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("latency_script.py")


def main(home: Path, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    """Measure all sizes."""
    work = home / "bench" / "corpora" / "latency"
    work.mkdir(parents=True, exist_ok=True)
    earlier = checked_out(work / EARLIER)
    results: list[dict[str, Any]] = []
    raw: list[dict[str, Any]] = []
    for pages in sizes:
        file = work / f"pages-{pages}.arrow"
        texts = write_pages(file, pages)
        times = measure(work / str(pages), file, queries_of(texts), {"now": ROOT, EARLIER: earlier})
        for words, found in times.items():
            raw.append({"pages": pages, "words": words, **found})
            print({k: round(v, 1) if isinstance(v, float) else v for k, v in raw[-1].items()})
            results += lines(pages, words, found)
        shutil.rmtree(work / str(pages))
        file.unlink()
    return {"results": results, "raw": raw}


def lines(pages: int, words: int, found: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of one kind of query."""
    now, before = found["now_p50_ms"], found[f"{EARLIER}_p50_ms"]
    name = f"default search, {pages:,} pages, {words} words"
    told = f"{name}: p50 (p95 {found['now_p95_ms']:.0f} ms; {EARLIER}: {before:.0f} ms)"
    speed = round(before / now, 2)
    goal = GOALS.get(pages) if words < 100 else None
    return [
        {"name": told, "value": round(now, 1), "unit": "ms", "goal": "", "met": True},
        {
            "name": f"{name}: over {EARLIER}, side by side",
            "value": speed,
            "unit": "x",
            "goal": f">= {goal:g}" if goal else "",
            "met": goal is None or speed >= goal,
        },
    ]


def checked_out(folder: Path) -> Path:
    """The earlier version of this repository.

    Raises:
        DataError: if the history does not hold it.
    """
    if not (folder / "visor_core").is_dir():
        command = ["git", "-C", str(ROOT), "archive", EARLIER]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise DataError(f"{EARLIER} is not in the history here (git fetch --unshallow brings it)")
        with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
    return folder


def write_pages(file: Path, count: int) -> list[list[str]]:
    """Write the pages, and return the words of every hundredth."""
    schema = pa.schema([pa.field("text", pa.string()), pa.field("words", pa.list_(WORD))])
    kept = []
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        batch: list[tuple[list[str], np.ndarray]] = []
        for number, page in enumerate(real_like(read_real(), count)):
            batch.append(page)
            if number % 100 == 0:
                kept.append(page[0])
            if len(batch) == 1_000 or number == count - 1:
                writer.write_batch(record(batch, schema))
                batch = []
    return kept


def record(batch: list[tuple[list[str], np.ndarray]], schema: pa.Schema) -> pa.RecordBatch:
    """Pages as Arrow."""
    boxes = np.concatenate([box for _, box in batch])
    columns = [pa.array([word for words, _ in batch for word in words], pa.string())]
    columns += [pa.array(np.ascontiguousarray(boxes[:, i]), pa.float32()) for i in range(4)]
    offsets = np.cumsum([0, *(len(words) for words, _ in batch)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.StructArray.from_arrays(columns, fields=list(WORD)))
    texts = pa.array([" ".join(words) for words, _ in batch], pa.string())
    return pa.record_batch([texts, lists.cast(schema.field("words").type)], schema=schema)


def queries_of(texts: list[list[str]]) -> dict[int, list[str]]:
    """Queries by their number of words, each of words of one page."""
    random = np.random.default_rng(1)
    found = {}
    for words, count in QUERIES.items():
        asked = []
        while len(asked) < count:
            text = texts[int(random.integers(len(texts)))]
            said = [word for word in text if len(word) > 2]
            if len(said) >= 20:
                asked.append(" ".join(said[i] for i in random.integers(len(said), size=words)))
        found[words] = asked
    return found


def measure(
    folder: Path, file: Path, queries: dict[int, list[str]], sides: dict[str, Path]
) -> dict[int, dict[str, Any]]:
    """Percentiles by number of words: both sides answer each query in turn."""
    children = {name: started(folder / name, file, tree) for name, tree in sides.items()}
    built = {name: json.loads(answer(child.stdout))["seconds"] for name, child in children.items()}
    found: dict[int, dict[str, Any]] = {}
    for words, asked in queries.items():
        times: dict[str, list[float]] = {name: [] for name in sides}
        shared = []
        for number, query in enumerate(asked):
            pages = {}
            for name in sorted(sides, reverse=bool(number % 2)):
                child = children[name]
                assert child.stdin is not None
                child.stdin.write(json.dumps(query) + "\n")
                child.stdin.flush()
                told = json.loads(answer(child.stdout))
                times[name].append(told["ms"])
                pages[name] = set(told["pages"])
            first, *others = pages.values()
            shared.append(len(first.intersection(*others)) / max(1, len(first)))
        found[words] = {"queries": len(asked), "shared_of_first_ten": float(np.mean(shared))}
        for name, taken in times.items():
            p50, p95 = (float(np.percentile(taken, q)) for q in (50, 95))
            found[words] |= {f"{name}_p50_ms": p50, f"{name}_p95_ms": p95, f"{name}_build_seconds": built[name]}
    for child in children.values():
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
    return found


def started(folder: Path, file: Path, tree: Path) -> subprocess.Popen[str]:
    """One side; its corpus is built before the other's is."""
    paths = [str(tree), *(path for path in os.environ.get("PYTHONPATH", "").split(":") if path and Path(path) != ROOT)]
    child = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": ":".join(paths)},
    )
    return child


def answer(stream: IO[str] | None) -> str:
    """A line of a child.

    Raises:
        DataError: if it has ended.
    """
    assert stream is not None
    line = stream.readline()
    if not line:
        raise DataError("one side of the measurement has ended: see its error above")
    return line
