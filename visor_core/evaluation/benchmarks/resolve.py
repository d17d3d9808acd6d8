"""From a benchmark's file names to page ids of an ingested corpus.

Benchmarks name a document by file name, deck name or a slide picture; the corpus names it by the hash of its bytes.
A question whose document is not in the corpus is left out and counted, never silently answered against another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from visor_core.errors import DataError
from visor_core.questions import Question


class DocumentRecord(Protocol):
    """What a resolver needs of a document of the index."""

    @property
    def document_id(self) -> str: ...
    @property
    def filename(self) -> str: ...
    @property
    def source_uri(self) -> str: ...
    @property
    def num_pages(self) -> int: ...


@dataclass(frozen=True, slots=True)
class BenchmarkQuestions:
    """A benchmark file resolved against a corpus; `left_out` are ids of questions whose document is not there."""

    questions: tuple[Question, ...]
    left_out: tuple[str, ...] = ()


class PageResolver:
    """Finds page ids by (file or deck name, 1-based page) among the documents of a corpus."""

    def __init__(self, documents: Iterable[DocumentRecord]) -> None:
        self._by_name: dict[str, DocumentRecord] = {}
        self._by_path: dict[str, DocumentRecord] = {}
        for document in documents:
            for name in (document.filename, PurePosixPath(document.filename).stem):
                self._by_name.setdefault(name, document)
            path = PurePosixPath(unquote(urlsplit(document.source_uri).path))
            self._by_path.setdefault("/".join(path.parts[-2:]), document)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def page(self, name: str, page: int) -> str | None:
        """The page id, or None if the corpus has no such document or the document no such page."""
        document = self._by_name.get(name)
        if document is None or not 1 <= page <= document.num_pages:
            return None
        return page_id(document.document_id, page)

    def picture(self, folder: str, filename: str) -> str | None:
        """The page id of a slide kept as a single picture `<folder>/<filename>`."""
        document = self._by_path.get(f"{folder}/{filename}")
        return None if document is None else page_id(document.document_id, 1)


def page_id(document_id: str, page: int) -> str:
    """The corpus's name of a page: `{document_id}/{page:05d}`, page 1-based."""
    return f"{document_id}/{page:05d}"


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        DataError: naming the file, if it is missing or not JSON.
    """
    if not path.is_file():
        raise DataError(f"no benchmark file at {path}: give the path of the questions file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} is not valid JSON: {error}") from error


def required(item: object, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    """The item as a mapping that has the named keys.

    Raises:
        DataError: naming the file, the item's position and the absent keys.
    """
    if not isinstance(item, dict):
        raise DataError(f"{where} is {type(item).__name__}, not an object")
    absent = [key for key in keys if key not in item]
    if absent:
        raise DataError(f"{where} lacks {', '.join(absent)}: is this file of another benchmark?")
    return item
