"""ViDoSeek (ViDoRAG, EMNLP 2025): `{"examples": [...]}`, reference pages count from 1, the corpus is PDFs.

VRAG's question files have the same form. Reads only; the judge protocol is not part of this module.
"""

from __future__ import annotations

from pathlib import Path

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks.resolve import BenchmarkQuestions, PageResolver, read_json, required
from visor_core.questions import Question


def read(path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The questions of a file; every document stands in one corpus, searched as a whole.

    Raises:
        DataError: if the file is not of this form.
    """
    data = required(read_json(path), ("examples",), path.name)
    if not isinstance(data["examples"], list):
        raise DataError(f"{path.name}: `examples` must be a list")
    questions: list[Question] = []
    left_out: list[str] = []
    for position, raw in enumerate(data["examples"]):
        where = f"{path.name}, example {position}"
        item = required(raw, ("uid", "query", "reference_answer", "meta_info"), where)
        meta = required(item["meta_info"], ("file_name", "reference_page"), f"{where}, meta_info")
        document = str(meta["file_name"])
        if document not in pages:
            left_out.append(str(item["uid"]))
            continue
        numbers = meta["reference_page"]
        if not isinstance(numbers, list) or not all(isinstance(n, int) for n in numbers):
            raise DataError(f"{where}: reference_page must be a list of page numbers, not {numbers!r}")
        gold = [pages.page(document, n) for n in dict.fromkeys(numbers)]
        if any(page is None for page in gold):
            raise DataError(f"{where}: {numbers} names a page that {document} does not have in this corpus")
        questions.append(
            Question(
                question_id=str(item["uid"]),
                question=str(item["query"]),
                answers=(str(item["reference_answer"]),),
                benchmark="vidoseek",
                gold_pages=tuple(page for page in gold if page is not None),
                hops=max(1, len(gold)),
                evidence_sources=(str(meta["source_type"]),) if meta.get("source_type") else (),
                metadata={"filename": document, "query_type": str(meta.get("query_type", ""))},
            )
        )
    return BenchmarkQuestions(tuple(questions), tuple(left_out))
