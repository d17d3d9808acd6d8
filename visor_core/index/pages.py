"""Asset `pages`: documents → pages (text, words, sizes) and images, rendered in worker processes.

Work goes by content: a page is rendered once per document and rendering configuration, whatever its file is called. A
document whose rendering fails is quarantined and leaves no page. A killed run is continued by the next one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from visor_core.config import DocumentsConfig
from visor_core.documents import ocr
from visor_core.documents.messages import Failed, Finished, RenderedPage
from visor_core.documents.names import shown_names
from visor_core.documents.pool import WorkerPool
from visor_core.documents.sources import Refused, readable_path
from visor_core.documents.worker import Task
from visor_core.errors import MissingDependencyError, VisorError
from visor_core.index.corpus import SCHEMAS, WORD, Corpus, delete_by, put, quoted, rows, upsert
from visor_core.index.records import page_id_of, split_page_id
from visor_core.index.register import DOCUMENT_COLUMNS, REGISTERED
from visor_core.index.render_keys import fitting_keys, render_base, render_key
from visor_core.index.settings import hold_settings
from visor_core.index.unread import unread_pages
from visor_core.index.validating import Progress, limits_of, password_for, rendering_key
from visor_core.installation import install_command

_TASK_PAGES = 8
"""Pages a worker renders before the document's other pages may go to another worker."""
_COMMIT_BYTES = 32 * 2**20


@dataclass(frozen=True)
class PagesReport:
    """What a rendering run did. `text_sources` counts all pages by where their text comes from, `unread` those without
    legible text that OCR was not tried on."""

    documents: int
    pages: int
    rendered: int
    removed: int
    text_sources: dict[str, int]
    unread: int
    problems: tuple[tuple[str, int, str], ...]
    quarantined: tuple[Refused, ...]
    data_version: str
    slowest: tuple[str, float] = ("", 0.0)
    """The document that workers spent most seconds on in this run, by file name."""
    locked: tuple[Refused, ...] = ()
    """Documents that were to be rendered anew and keep the pages they have: their password is not there now."""


def render_pages(
    corpus: Corpus, config: DocumentsConfig, *, progress: Progress | None = None, pool: WorkerPool | None = None
) -> PagesReport:
    """Bring the tables pages and images in line with the table documents.

    Args:
        corpus: where.
        config: how; limits, passwords.
        progress: called as pages are rendered.
        pool: workers that render; none starts some and ends them.

    Raises:
        MissingDependencyError: if `documents.ocr` is `always` and the extra `ocr` is not installed.
    """
    mode = _ocr_mode(config)
    base = render_base(config)
    rendered, slowest = 0, ("", 0.0)
    with corpus.writing():
        hold_settings(corpus, documents=config)
        documents = {r["document_id"]: r for r in rows(corpus.table("documents"), DOCUMENT_COLUMNS)}
        wanted = {i: r for i, r in documents.items() if r["status"] == "ok"}
        removed = _remove_orphans(corpus, wanted)
        tasks, failed = _tasks(corpus, wanted, config, mode)
        if tasks:
            # Rendering goes on while a batch is written; at most one batch waits, which bounds the memory.
            with (
                nullcontext(pool) if pool else WorkerPool(config.workers) as workers,
                ThreadPoolExecutor(1, "pages-writer") as writer,
            ):
                pending: Future[None] | None = None
                held = {name: _ids(corpus, name) for name in ("images", "pages")}
                for batch, failures in _batches(workers, tasks, progress):
                    failed |= failures
                    rendered += len(batch)
                    if pending is not None:
                        pending.result()
                    pending = writer.submit(_write, corpus, batch, held, wanted, base, mode)
                if pending is not None:
                    pending.result()
                slowest = max(((documents[i]["filename"], s) for i, s in workers.spent.items()), key=lambda p: p[1])
        locked = _whole(corpus, [wanted[i] for i, failure in failed.items() if failure.by_secret])
        if quarantined := {i: failure for i, failure in failed.items() if i not in locked}:
            _quarantine(corpus, documents, quarantined, config)
        _move_partitions(corpus, documents)
        kept = [Refused(wanted[i]["source_uri"], wanted[i]["filename"], failed[i].reason) for i in sorted(locked)]
        return replace(_report(corpus, documents, rendered, removed, slowest), locked=tuple(kept))


def pages_version(pages: Sequence[dict[str, Any]]) -> str:
    """Content hash of a set of page rows (page_id, partition, content_hash, render_key)."""
    lines = sorted(f"{r['page_id']} {r['partition']} {r['content_hash']} {r['render_key']}" for r in pages)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def held_version(corpus: Corpus) -> str:
    """The content hash of the pages that a corpus holds now."""
    return pages_version(rows(corpus.table("pages"), ["page_id", "partition", "content_hash", "render_key"]))


def _ocr_mode(config: DocumentsConfig) -> str:
    if config.ocr == "always" and not ocr.available():
        raise MissingDependencyError(f"documents.ocr is `always` but OCR is missing: `{install_command('ocr')}`")
    return config.ocr if ocr.available() else "never"


def _remove_orphans(corpus: Corpus, wanted: dict[str, dict[str, Any]]) -> int:
    """Drop pages and images of documents that are retired or quarantined, and pages beyond a document's last."""
    removed = 0
    for name in ("pages", "images"):
        table = corpus.table(name)
        held = table.search().select(["page_id", "document_id"]).limit(None).to_arrow()
        pairs = list(zip(held["page_id"].to_pylist(), held["document_id"].to_pylist(), strict=True))
        count = delete_by(table, "document_id", {i for _, i in pairs} - set(wanted))
        # Another renderer may count fewer pages.
        beyond = [p for p, i in pairs if i in wanted and split_page_id(p)[1] > wanted[i]["num_pages"]]
        count += delete_by(table, "page_id", beyond)
        removed = count if name == "pages" else removed
    return removed


def _tasks(
    corpus: Corpus, wanted: dict[str, dict[str, Any]], config: DocumentsConfig, mode: str
) -> tuple[list[tuple[Task, float]], dict[str, Failed]]:
    """Rendering tasks for the pages that are missing or stale, with their time limits.

    A page rendered anew replaces its row; what its vectors were made of is kept beside them and shows them to be old.
    """
    done: dict[str, set[int]] = {}
    fitting = fitting_keys(config, mode)
    for row in rows(corpus.table("pages"), ["document_id", "page"], f"render_key IN ({quoted(sorted(fitting))})"):
        done.setdefault(row["document_id"], set()).add(row["page"])
    tasks: list[tuple[Task, float]] = []
    unreadable: dict[str, Failed] = {}
    for document_id, row in sorted(wanted.items(), key=lambda item: (-item[1]["num_pages"], item[0])):
        missing = [p for p in range(1, row["num_pages"] + 1) if p not in done.get(document_id, set())]
        if not missing:
            continue
        try:
            password = password_for(config, row["filename"])
        except VisorError as error:
            unreadable[document_id] = Failed(document_id, str(error), by_secret=True)
            continue
        each = config.page_seconds + (config.ocr_page_seconds if mode != "never" else 0.0)
        seconds = config.timeout_seconds + each * len(missing)
        for start in range(0, len(missing), _TASK_PAGES):
            pages = tuple(missing[start : start + _TASK_PAGES])
            task = Task(
                key=document_id,
                path=readable_path(corpus.sources, document_id, row["media_type"]),
                filename=row["filename"],
                renderer=config.renderer,
                limits=limits_of(config),
                memory_bytes=config.memory_bytes,
                password=password,
                pages=pages,
                dpi=config.dpi,
                image_format=config.image_format,
                jpeg_quality=config.jpeg_quality,
                ocr=mode,
            )
            tasks.append((task, seconds))
    return tasks, unreadable


def _whole(corpus: Corpus, documents: Sequence[dict[str, Any]]) -> set[str]:
    """Which of some documents have all their pages, however they were rendered."""
    if not documents:
        return set()
    ids = quoted([row["document_id"] for row in documents])
    held = rows(corpus.table("pages"), ["document_id"], f"document_id IN ({ids})")
    stored = Counter(row["document_id"] for row in held)
    return {row["document_id"] for row in documents if stored[row["document_id"]] >= row["num_pages"]}


def _batches(
    pool: WorkerPool, tasks: Sequence[tuple[Task, float]], progress: Progress | None
) -> Iterator[tuple[list[RenderedPage], dict[str, Failed]]]:
    """Rendered pages in commits of bounded size, and the failures met on the way."""
    total = sum(len(task.pages or ()) for task, _ in tasks)
    batch: list[RenderedPage] = []
    failures: dict[str, Failed] = {}
    held = done = 0
    for message in pool.run(tasks):
        if isinstance(message, RenderedPage):
            batch.append(message)
            held += len(message.image)
            done += 1
            if progress:
                progress("pages", done, total)
        elif isinstance(message, Failed):
            failures.setdefault(message.key, message)
        if held >= _COMMIT_BYTES and not isinstance(message, Finished):
            yield [p for p in batch if p.key not in failures], dict(failures)
            batch, held = [], 0
    yield [p for p in batch if p.key not in failures], dict(failures)


def _write(
    corpus: Corpus,
    batch: Sequence[RenderedPage],
    held: dict[str, set[str]],
    wanted: dict[str, dict[str, Any]],
    base: str,
    ocr_mode: str,
) -> None:
    """Store pages; pictures first, so that a page row always has its picture. `held` are the keys in the tables."""
    if not batch:
        return
    page_ids = [page_id_of(p.key, p.page) for p in batch]
    pictures = [
        {"page_id": page_id, "document_id": p.key, "image": p.image} for page_id, p in zip(page_ids, batch, strict=True)
    ]
    put(corpus.table("images"), pa.Table.from_pylist(pictures, schema=SCHEMAS["images"]), held["images"])
    records = [
        {
            "page_id": page_id,
            "document_id": p.key,
            "partition": wanted[p.key]["partition"],
            "page": p.page,
            "width_pt": p.width_pt,
            "height_pt": p.height_pt,
            "rotation": p.rotation,
            "text": p.text,
            "text_source": p.text_source,
            "headings": list(p.headings),
            "section": p.section,
            "image_width": p.image_width,
            "image_height": p.image_height,
            "dpi": p.dpi,
            "problem": p.problem,
            "render_key": render_key(base, ocr_mode, p.text_source, legible=p.legible),
            "content_hash": p.content_hash,
        }
        for page_id, p in zip(page_ids, batch, strict=True)
    ]
    schema = SCHEMAS["pages"]
    data = pa.Table.from_pylist(records, schema=schema.remove(schema.get_field_index("words")))
    put(corpus.table("pages"), data.append_column(schema.field("words"), _word_lists(batch)), held["pages"])


def _ids(corpus: Corpus, name: str) -> set[str]:
    """The keys that a table holds."""
    return set(corpus.table(name).search().select(["page_id"]).limit(None).to_arrow()["page_id"].to_pylist())


def _word_lists(batch: Sequence[RenderedPage]) -> pa.Array:
    """The words of pages as an Arrow list column, without a Python object a word."""
    boxes = np.concatenate([p.word_boxes for p in batch])
    texts = pa.array([text for p in batch for text in p.word_texts], pa.string())
    columns = [texts, *(pa.array(np.ascontiguousarray(boxes[:, i]), pa.float32()) for i in range(4))]
    words = pa.StructArray.from_arrays(columns, fields=list(WORD))
    offsets = np.cumsum([0, *(len(p.word_texts) for p in batch)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), words, type=pa.list_(WORD))


def _quarantine(
    corpus: Corpus, documents: dict[str, dict[str, Any]], failures: dict[str, Failed], config: DocumentsConfig
) -> None:
    """Mark documents that could not be rendered, then drop what pages they have."""
    for document_id, failed in failures.items():
        row = documents[document_id]
        key = "" if failed.by_secret else rendering_key(config, row)
        row |= {"status": "quarantined", "reason": failed.reason, "reader_key": key}
    changed = pa.Table.from_pylist([documents[i] for i in failures], schema=REGISTERED)
    upsert(corpus.table("documents"), changed)
    for name in ("pages", "images"):
        delete_by(corpus.table(name), "document_id", failures)


def _move_partitions(corpus: Corpus, documents: dict[str, dict[str, Any]]) -> None:
    """Pages follow their document into another partition."""
    for name in ("pages", "page_texts", "passages"):
        table = corpus.table(name)
        held = table.search().select(["document_id", "partition"]).limit(None).to_arrow()
        pairs = held.group_by(["document_id", "partition"]).aggregate([]).to_pylist()
        stale = {
            pair["document_id"]
            for pair in pairs
            if pair["document_id"] in documents and documents[pair["document_id"]]["partition"] != pair["partition"]
        }
        for document_id in sorted(stale):
            table.update(
                where=f"document_id = {quoted([document_id])}",
                values={"partition": documents[document_id]["partition"]},
            )


def _report(
    corpus: Corpus, documents: dict[str, dict[str, Any]], rendered: int, removed: int, slowest: tuple[str, float]
) -> PagesReport:
    columns = ["page_id", "document_id", "page", "partition", "text_source", "problem", "content_hash", "render_key"]
    held = rows(corpus.table("pages"), columns)
    sources: dict[str, int] = {}
    for row in held:
        sources[row["text_source"]] = sources.get(row["text_source"], 0) + 1
    lost = [r for r in documents.values() if r["status"] != "ok"]
    names = shown_names({i: (r["filename"], r["source_uri"]) for i, r in documents.items()})
    problems = sorted((names[r["document_id"]], r["page"], r["problem"]) for r in held if r["problem"])
    return PagesReport(
        documents=len(documents) - len(lost),
        pages=len(held),
        rendered=rendered,
        removed=removed,
        text_sources=dict(sorted(sources.items())),
        unread=unread_pages(corpus.table("pages")),
        problems=tuple(problems),
        quarantined=tuple(Refused(r["source_uri"], r["filename"], r["reason"]) for r in lost),
        data_version=pages_version(held),
        slowest=slowest,
    )
