"""MMLongBench-Doc (Ma et al., NeurIPS 2024): one JSON list; its two list fields are strings, pages count from 1.

Three items of the released file name page 0, which no document has: it is dropped. Reads only; the official protocol
(extraction by a language model, then rules) is not part of this module.
"""

from __future__ import annotations

import ast
from pathlib import Path

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks.resolve import BenchmarkQuestions, PageResolver, read_json, required
from visor_core.questions import Question

_KEYS = ("doc_id", "question", "answer", "evidence_pages", "evidence_sources", "answer_format")


def read(path: Path, pages: PageResolver, *, within_document: bool = False) -> BenchmarkQuestions:
    """The questions of a file.

    Args:
        within_document: record the document's name for a search restricted to it (metadata `document`).

    Raises:
        DataError: if the file is not of this form.
    """
    data = read_json(path)
    if not isinstance(data, list):
        raise DataError(f"{path.name} must be a JSON list of questions, not {type(data).__name__}")
    questions: list[Question] = []
    left_out: list[str] = []
    for position, raw in enumerate(data):
        item = required(raw, _KEYS, f"{path.name}, item {position}")
        question_id = f"mmlongbench-{position:04d}"
        document = str(item["doc_id"])
        if document not in pages:
            left_out.append(question_id)
            continue
        where = f"{path.name}, item {position}, evidence_pages"
        numbers = [n for n in _literal_list(item["evidence_pages"], where) if isinstance(n, int) and n != 0]
        gold = [pages.page(document, n) for n in dict.fromkeys(numbers)]
        if any(page is None for page in gold):
            raise DataError(f"{where}: {numbers} names a page that {document} does not have in this corpus")
        metadata = {"filename": document, "doc_type": str(item.get("doc_type", ""))}
        if within_document:
            metadata["document"] = document
        questions.append(
            Question(
                question_id=question_id,
                question=str(item["question"]),
                answers=(str(item["answer"]),),
                benchmark="mmlongbench",
                answer_format=str(item["answer_format"]),
                gold_pages=tuple(page for page in gold if page is not None),
                hops=max(1, len(gold)),
                evidence_sources=tuple(
                    str(s) for s in _literal_list(item["evidence_sources"], f"{path.name}, item {position}")
                ),
                answerable=str(item["answer"]).strip().lower() != "not answerable",
                metadata=metadata,
            )
        )
    return BenchmarkQuestions(tuple(questions), tuple(left_out))


def _literal_list(value: object, where: str) -> list[object]:
    """A list given as itself or as its Python literal in a string."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError) as error:
            raise DataError(f"{where}: {value!r} is not a list") from error
    if not isinstance(value, list):
        raise DataError(f"{where}: {value!r} is not a list")
    return list(value)
