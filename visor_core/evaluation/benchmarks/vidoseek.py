"""ViDoSeek (ViDoRAG, EMNLP 2025) and VRAG's merged files: `{"examples": [...]}`, reference pages count from 1.

Sources: the example files of github.com/Alibaba-NLP/ViDoRAG and of github.com/Alibaba-NLP/VRAG, whose `source_type` may
be a list and which may state an `answer_format`. Reads only. A language model scores the answers, of ViDoSeek from 1 to
5, right from 4 on; there is no rule without one (`scoring.answers.NO_RULE`).
"""

from __future__ import annotations

from functools import partial
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

KEYS = ("uid", "query", "reference_answer", "meta_info")


def _read(benchmark: str, path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The questions of a file, and the items that cannot be used; every document is searched.

    Raises:
        DataError: if the file cannot be read, or none of its items can be used.
    """

    def build(name: str, item: dict[str, Any]) -> Question:
        item = required(item, KEYS)
        meta = required(item["meta_info"], ("file_name", "reference_page"))
        text(item, "uid")
        document = pages.document(text(meta, "file_name"))
        numbers = page_numbers(meta["reference_page"], "reference_page")
        gold = tuple(pages.page(text(meta, "file_name"), number) for number in numbers)
        return Question(
            question_id=name,
            question=asked(item, "query"),
            answers=(text(item, "reference_answer"),),
            benchmark=benchmark,
            answer_format=str(meta.get("answer_format") or ""),
            gold_pages=gold,
            hops=max(1, len(gold)),
            evidence_sources=names(meta.get("source_type")),
            metadata=described(
                meta.get("query_type"),
                meta.get("doc_type"),
                filename=document.filename,
                document_id=document.document_id,
            ),
        )

    return collect(path, read_items(path), lambda position, item: _name(benchmark, position, item), build)


def _name(benchmark: str, position: int, item: dict[str, Any]) -> str:
    """ViDoSeek's ids are its own; those of a merged file are numbers, which others have too."""
    uid = item.get("uid")
    if uid is None or uid == "":
        return f"example {position}"
    return str(uid) if benchmark == "vidoseek" else f"{benchmark}-{uid}"


read = partial(_read, "vidoseek")
read_vrag = partial(_read, "vrag")
