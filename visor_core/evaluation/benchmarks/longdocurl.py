"""LongDocURL (Deng et al., ACL 2025): JSON lines, a document is a number, evidence pages count from 1.

Source: `data/LongDocURL.jsonl` of github.com/dengc2023/LongDocURL. Its pictures count from 0 and its pages from 1: an
item with `start_end_idx` [42, 71] lists the pictures 41 to 70. An item names the 30 pages its question was written on;
here the whole corpus is searched. Its rules are `scoring.longdocurl`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from visor_core.evaluation.benchmarks.files import read_items
from visor_core.evaluation.benchmarks.resolve import (
    BenchmarkQuestions,
    PageResolver,
    asked,
    collect,
    described,
    names,
    page_numbers,
    required,
    text,
)
from visor_core.questions import Question

KEYS = ("question_id", "doc_no", "question", "answer", "evidence_pages")
_FORMATS = {"Integer": "Int", "Float": "Float", "String": "Str", "List": "List", "None": "None"}


def read(path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The questions of a file, and the items that cannot be used.

    Raises:
        DataError: if the file cannot be read, or none of its items can be used.
    """

    def build(name: str, item: dict[str, Any]) -> Question:
        item = required(item, KEYS)
        text(item, "question_id")
        document = pages.document(text(item, "doc_no"))
        numbers = page_numbers(item["evidence_pages"], "evidence_pages")
        gold = tuple(pages.page(text(item, "doc_no"), number) for number in numbers)
        answer = text(item, "answer")
        return Question(
            question_id=name,
            question=asked(item, "question"),
            answers=(answer,),
            benchmark="longdocurl",
            answer_format=_FORMATS.get(str(item.get("answer_format")), ""),
            gold_pages=gold,
            hops=max(1, len(gold)),
            evidence_sources=names(item.get("evidence_sources")),
            answerable=answer.strip().lower() != "not answerable",
            metadata=described(
                item.get("task_tag"),
                filename=document.filename,
                document_id=document.document_id,
                question_type=item.get("question_type"),
            ),
        )

    return collect(
        path, read_items(path), lambda position, item: f"longdocurl-{item.get('question_id', position)}", build
    )
