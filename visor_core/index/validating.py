"""Whether a file is a document that can be read: opened in a worker, after a PDF is made of it where that is needed.

What decides is kept as a key in the document's row, so that a document is opened again when that changes and not
otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from visor_core.config import DocumentsConfig, SecretReference
from visor_core.documents import ocr
from visor_core.documents.converting import ConversionError, convert, is_read_here, reading_needs
from visor_core.documents.formats import HEAD, is_converted, media_type
from visor_core.documents.messages import Failed, Validated
from visor_core.documents.names import composed
from visor_core.documents.pool import WorkerPool
from visor_core.documents.reader import Limits
from visor_core.documents.sources import converted_path, readable_path, stored_path
from visor_core.documents.worker import Task
from visor_core.errors import VisorError
from visor_core.index.corpus import Corpus

BY = " by "
"""Stands in a reader's key before the program that a kind of document needs."""
Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


def limits_of(config: DocumentsConfig) -> Limits:
    """The limits a document is checked against."""
    return Limits(config.max_bytes, config.max_pages, config.max_page_inches, config.max_page_pixels)


def password_for(config: DocumentsConfig, filename: str) -> str:
    """The password configured for a file name, read now; empty if there is none."""
    reference = _passwords(config).get(composed(filename))
    return reference.read().get_secret_value() if reference else ""


def _passwords(config: DocumentsConfig) -> dict[str, SecretReference]:
    return {composed(name): reference for name, reference in config.passwords.items()}


def needing_validation(
    corpus: Corpus, seen: dict[str, dict[str, Any]], config: DocumentsConfig
) -> list[dict[str, Any]]:
    """Rows that were never opened, were accepted or refused under other settings, or of which the PDF made is lost.

    A program that is not on this machine any more takes no document away that was read with it.
    """

    def is_lost(row: dict[str, Any]) -> bool:
        return not readable_path(corpus.sources, row["document_id"], row["media_type"]).is_file()

    def is_settled(row: dict[str, Any]) -> bool:
        if row["status"] == "ok" and not is_read_here(row["media_type"]):
            return str(row["reader_key"]).partition(BY)[0] == reader_key(config, row).partition(BY)[0]
        return row["reader_key"] in (reader_key(config, row), rendering_key(config, row))

    return [row for row in seen.values() if not is_settled(row) or (row["status"] == "ok" and is_lost(row))]


def reader_key(config: DocumentsConfig, row: Mapping[str, Any]) -> str:
    """What decides whether a document is accepted; a change makes it be opened again: a digest of the settings and,
    after it, the program that the kind of document is read with, if it needs one.

    Of a password only that there is one: what a wrong one refused is kept under no key and opened again anyway.
    """
    parts: list[object] = [
        config.renderer,
        config.max_pages,
        config.max_page_inches,
        config.max_page_pixels,
        config.timeout_seconds,
        config.memory_bytes,
        composed(row["filename"]) in _passwords(config),
    ]
    if config.attachments:
        parts.append("attachments")
    needs = reading_needs(row["media_type"])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16] + (BY + needs if needs else "")


def rendering_key(config: DocumentsConfig, row: Mapping[str, Any]) -> str:
    """What decides whether an accepted document can be rendered: the key of one that could not be."""
    parts = [
        reader_key(config, row),
        config.dpi,
        config.image_format,
        config.jpeg_quality,
        config.page_seconds,
        config.ocr_page_seconds,
        config.ocr,
        ocr.available(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _convert(
    corpus: Corpus, fresh: Sequence[dict[str, Any]], config: DocumentsConfig, progress: Progress | None
) -> dict[str, str]:
    """Make PDFs of the documents of other kinds and name their kinds; by document, why none could be made."""
    wanted = []
    for row in fresh:
        with stored_path(corpus.sources, row["document_id"]).open("rb") as file:
            head = file.read(HEAD)
        if not is_read_here(row["media_type"]) and converted_path(corpus.sources, row["document_id"]).is_file():
            continue  # the PDF that was made of it stands
        row["media_type"] = media_type(head) or ""
        if is_converted(head, row["filename"]):
            wanted.append(row)
    refused: dict[str, str] = {}

    def one(row: dict[str, Any]) -> None:
        source, target = (at(corpus.sources, row["document_id"]) for at in (stored_path, converted_path))
        try:
            row["media_type"] = convert(source, target, row["filename"], config)
        except ConversionError as error:
            row["media_type"] = error.media_type
            refused[row["document_id"]] = str(error)

    with ThreadPoolExecutor(config.workers) as threads:
        for done, _ in enumerate(threads.map(one, wanted), start=1):
            if progress:
                progress("PDFs made of other documents", done, len(wanted))
    return refused


def validate(
    corpus: Corpus,
    fresh: Sequence[dict[str, Any]],
    config: DocumentsConfig,
    progress: Progress | None,
    pool: WorkerPool | None,
) -> None:
    """Open each document in a worker and write what came of it into its row."""
    by_id = {row["document_id"]: row for row in fresh}
    refused = _convert(corpus, fresh, config, progress)
    tasks = []
    for row in fresh:
        try:
            password = password_for(config, row["filename"])
        except VisorError as error:
            # What was opened once with its password is kept as it was read then; the next ingest tries again.
            if row["status"] != "ok":
                row |= {"status": "quarantined", "reason": str(error), "reader_key": ""}
            continue
        if row["document_id"] in refused:
            row |= {"status": "quarantined", "reason": refused[row["document_id"]]}
            row["reader_key"] = reader_key(config, row)
            continue
        task = Task(
            row["document_id"],
            readable_path(corpus.sources, row["document_id"], row["media_type"]),
            row["filename"],
            config.renderer,
            limits_of(config),
            config.memory_bytes,
            password,
        )
        tasks.append((task, config.timeout_seconds))
    done = 0
    with nullcontext(pool) if pool else WorkerPool(config.workers) as workers:
        for message in workers.run(tasks):
            row = by_id[message.key]
            row["reader_key"] = reader_key(config, row)
            if isinstance(message, Validated):
                row |= {
                    "status": "ok",
                    "reason": "",
                    "num_pages": message.num_pages,
                    "title": message.title,
                }
            elif isinstance(message, Failed):
                if message.by_secret:
                    row["reader_key"] = ""
                if not (message.by_secret and row["status"] == "ok"):
                    row |= {"status": "quarantined", "reason": message.reason}
            if not isinstance(message, Validated):
                done += 1
                if progress:
                    progress("documents", done, len(tasks))
