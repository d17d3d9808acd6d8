"""MMLongBench-Doc (Ma et al., NeurIPS 2024): one JSON list; its two list fields are strings, pages count from 1.

Three items of the released file name page 0, which no document has: it is dropped, the item is kept, and its answer
never counts as supported. Reads only; the extraction by a language model that the protocol puts first is not made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from visor_core.evaluation.benchmarks.resolve import (
    BenchmarkQuestions,
    PageResolver,
    collect,
    literal_list,
    page_numbers,
    required,
    text,
)
from visor_core.questions import GOLD_DROPPED, Question

_KEYS = ("doc_id", "question", "answer", "evidence_pages", "evidence_sources", "answer_format")


def read(path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The questions of a file, and the items that cannot be used.

    Raises:
        DataError: if the file cannot be read, or none of its items can be used.
    """

    def build(name: str, item: dict[str, Any]) -> Question:
        item = required(item, _KEYS)
        document = pages.document(text(item, "doc_id"))
        numbers = page_numbers(item["evidence_pages"], "evidence_pages")
        gold = tuple(pages.page(text(item, "doc_id"), number) for number in numbers if number != 0)
        metadata = {
            "filename": document.filename,
            "document_id": document.document_id,
            "doc_type": str(item.get("doc_type", "")),
        }
        if 0 in numbers:
            metadata[GOLD_DROPPED] = "page 0"
        answer = text(item, "answer")
        return Question(
            question_id=name,
            question=text(item, "question"),
            answers=(answer,),
            benchmark="mmlongbench",
            answer_format=text(item, "answer_format"),
            gold_pages=gold,
            hops=max(1, len(gold)),
            evidence_sources=tuple(str(s) for s in literal_list(item["evidence_sources"], "evidence_sources")),
            answerable=answer.strip().lower() != "not answerable",
            metadata=metadata,
        )

    return collect(path, lambda position, item: f"mmlongbench-{position:04d}", build)
