"""ViDoSeek (ViDoRAG, EMNLP 2025): `{"examples": [...]}`, reference pages count from 1, the corpus is PDFs.

VRAG's question files have the same form. Reads only. A language model scores its answers from 1 to 5, right from 4 on;
there is no rule without one (`scoring.answers.NO_RULE`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from visor_core.evaluation.benchmarks.resolve import (
    BenchmarkQuestions,
    PageResolver,
    collect,
    page_numbers,
    required,
    text,
)
from visor_core.questions import Question


def read(path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The questions of a file, and the items that cannot be used; every document is searched.

    Raises:
        DataError: if the file cannot be read, or none of its items can be used.
    """

    def build(name: str, item: dict[str, Any]) -> Question:
        item = required(item, ("uid", "query", "reference_answer", "meta_info"))
        meta = required(item["meta_info"], ("file_name", "reference_page"))
        text(item, "uid")
        document = pages.document(text(meta, "file_name"))
        numbers = page_numbers(meta["reference_page"], "reference_page")
        gold = tuple(pages.page(text(meta, "file_name"), number) for number in numbers)
        return Question(
            question_id=name,
            question=text(item, "query"),
            answers=(text(item, "reference_answer"),),
            benchmark="vidoseek",
            gold_pages=gold,
            hops=max(1, len(gold)),
            evidence_sources=(str(meta["source_type"]),) if meta.get("source_type") else (),
            metadata={
                "filename": document.filename,
                "document_id": document.document_id,
                "query_type": str(meta.get("query_type", "")),
            },
        )

    return collect(path, lambda position, item: str(item.get("uid") or f"example {position}"), build)
