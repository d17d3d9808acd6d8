"""ViDoRe V1 to V3 (arXiv 2407.01449, 2505.17166, 2601.08620): a folder of tables that say which pages answer a query.

Source: the columns of the hub's vidore/vidore_v3_* as the dataset viewer gives them: `queries` (`query_id`, `query`),
`qrels` (`query_id`, `corpus_id`, `score`), `corpus` (`corpus_id`, `doc_id`, `page_number_in_doc`, from 0) and
`documents_metadata` (`doc_id`, `file_name`). A table is a folder of Parquet files, a Parquet file or JSON lines of that
name; without `documents_metadata` a document's file name is its id. V1 and V2 (the hub's `*_beir` and `*_v2`) write
`query-id` and `corpus-id` and say nothing of page numbers: there every page is a picture, a document of its own that is
called by its `corpus-id` (`visor fetch` writes them so). Judgements measure the search for pages: a query
has an accepted answer only where the table has one, and no rule scores it. Grades above 0 are relevant; of them only
the pages are kept. Boxes are pixels of pictures that are not read, and left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks.files import Item, read_items, read_rows
from visor_core.evaluation.benchmarks.resolve import (
    NO_SUCH_PAGE,
    BenchmarkQuestions,
    PageResolver,
    UnusableError,
    asked,
    collect,
    described,
    names,
    page_numbers,
    required,
    text,
)
from visor_core.questions import Question

_CORPUS = ("corpus_id",)
_PLACE = ("doc_id", "page_number_in_doc")
"""Where a page stands in its document; in V1 and V2 it is a document itself."""
_QRELS = ("query_id", "corpus_id", "score")
_DOCUMENTS = ("doc_id", "file_name")
_HYPHENS = ("query-id", "corpus-id", "doc-id")
"""Columns of V1 and V2 that V3 writes with an underscore."""
NO_PAGE = "no page is judged relevant"


def read(path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The queries of a folder, and those that cannot be used.

    Raises:
        DataError: if a table is missing, or no query can be used.
    """
    if not path.is_dir():
        raise DataError(f"{path} is no folder: give the one that holds queries, qrels and corpus")
    files = {str(row["doc_id"]): str(row["file_name"]) for row in _table(path, "documents_metadata", _DOCUMENTS)}
    places = {str(row["corpus_id"]): row for row in _table(path, "corpus", _CORPUS, _PLACE, needed=True)}
    relevant: dict[str, list[str]] = defaultdict(list)
    for row in _table(path, "qrels", _QRELS, needed=True):
        if _grade(row["score"]) > 0:
            relevant[str(row["query_id"])].append(str(row["corpus_id"]))

    def page_of(name: str) -> str:
        if name not in places:
            raise UnusableError(NO_SUCH_PAGE, f"its page {name} is not in the table corpus")
        if any(places[name].get(column) is None for column in _PLACE):
            return pages.page(name, 1)
        document = text(places[name], "doc_id")
        (number,) = page_numbers([places[name]["page_number_in_doc"]], "page_number_in_doc")
        return pages.page(files.get(document, document), number + 1)

    def build(name: str, item: dict[str, Any]) -> Question:
        item = required(_named(item), ("query_id", "query"))
        found = relevant.get(text(item, "query_id"), [])
        if not found:
            raise UnusableError(NO_PAGE, "the table qrels has no page for it")
        gold = tuple(dict.fromkeys(page_of(page) for page in found))
        return Question(
            question_id=name,
            question=asked(item, "query"),
            answers=names(item.get("answer")),
            benchmark="vidore",
            split="test",
            gold_pages=gold,
            hops=len(gold),
            evidence_sources=names(item.get("content_type")),
            metadata=described(item.get("query_types"), language=item.get("language")),
        )

    return collect(
        path, _items(path, "queries"), lambda position, item: f"vidore-{_named(item).get('query_id', position)}", build
    )


def _named(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the names of V3's columns."""
    return {key.replace("-", "_") if key in _HYPHENS else key: value for key, value in row.items()}


def _grade(score: object) -> float:
    return float(score) if isinstance(score, int | float) and not isinstance(score, bool) else 0.0


def _files(folder: Path, name: str) -> list[Path]:
    """The files of a table."""
    inside = sorted((folder / name).glob("*.parquet")) if (folder / name).is_dir() else []
    beside = [path for suffix in (".parquet", ".jsonl", ".json") if (path := folder / f"{name}{suffix}").is_file()]
    return inside or beside[:1]


def _items(folder: Path, name: str) -> list[Item]:
    """The rows of a table that has to be there.

    Raises:
        DataError: if it is not.
    """
    files = _files(folder, name)
    if not files:
        raise DataError(f"{folder} holds no table {name}: {name}/*.parquet, {name}.parquet or {name}.jsonl")
    return [item for path in files for item in read_items(path)]


def _table(
    folder: Path, name: str, columns: tuple[str, ...], known: tuple[str, ...] = (), *, needed: bool = False
) -> Iterable[dict[str, Any]]:
    """The rows of a table that have its columns, by V3's names; of Parquet only these and `known` ones are read. Others
    are no judgement.

    Raises:
        DataError: if it has to be there and is not, or has no such row.
    """
    files = _files(folder, name)
    if not files and not needed:
        return []
    rows = (
        [row for path in files for row in read_rows(path, {*columns, *known, *_HYPHENS})]
        if files and files[0].suffix == ".parquet"
        else [item.content for item in _items(folder, name)]
    )
    named = [_named(row) for row in rows if isinstance(row, dict)]
    found = [row for row in named if all(row.get(column) is not None for column in columns)]
    if needed and not found:
        raise DataError(f"{folder.name}: its table {name} has no row with {', '.join(columns)}")
    return found
