"""MMLongBench-Doc (Ma et al., NeurIPS 2024): its two list fields are strings, pages count from 1.

Source: the README and `data/samples.json` of github.com/mayubo2333/MMLongBench-Doc, whose rows the Parquet file of the
hub (yubo2333/MMLongBench-Doc) and the corrected MMLongBench-Doc-V2 (arXiv 2608.03397, github.com/VectifyAI) have too.
The three are told apart by their counts (`EDITIONS`): papers that count 847 answerable questions read the hub's file.

Three items of the released file name page 0, which no document has: it is dropped, the item is kept, and its answer
never counts as supported. Reads only; the extraction by a language model that the protocol puts first is not made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visor_core.evaluation.benchmarks.files import read_items
from visor_core.evaluation.benchmarks.resolve import (
    BenchmarkQuestions,
    PageResolver,
    answer_form,
    asked,
    collect,
    described,
    names,
    page_numbers,
    required,
    text,
)
from visor_core.questions import EDITION, GOLD_DROPPED, Question

KEYS = ("doc_id", "question", "answer", "evidence_pages", "evidence_sources", "answer_format")


@dataclass(frozen=True, slots=True)
class Edition:
    """A released file of the questions: how many it has, and how many of them have an answer (None: not published)."""

    name: str
    questions: int
    answerable: int | None


EDITIONS = (
    Edition("repository, 1,082 questions", 1082, 859),
    Edition("hub since September 2025, 1,091 questions", 1091, 847),
    Edition("MMLongBench-Doc-V2, 1,071 questions", 1071, None),
)


def edition_of(items: Iterable[object]) -> str:
    """Which released file the items are, whole; empty for any other, such as a part of one."""
    given = [item for item in items if isinstance(item, dict)]
    answerable = sum(not _unanswerable(str(item.get("answer", ""))) for item in given)
    for edition in EDITIONS:
        if len(given) == edition.questions and edition.answerable in (answerable, None):
            return edition.name
    return ""


def read(path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The questions of a file, and the items that cannot be used.

    Raises:
        DataError: if the file cannot be read, or none of its items can be used.
    """
    items = read_items(path)
    edition = edition_of(item.content for item in items)

    def build(name: str, item: dict[str, Any]) -> Question:
        item = required(item, KEYS)
        document = pages.document(text(item, "doc_id"))
        numbers = page_numbers(item["evidence_pages"], "evidence_pages")
        gold = tuple(pages.page(text(item, "doc_id"), number) for number in numbers if number != 0)
        answer = text(item, "answer")
        answerable = not _unanswerable(answer)
        spread = "cross-page" if len(numbers) > 1 else "single-page"
        metadata = described(
            spread if answerable else "unanswerable",
            item.get("doc_type"),
            filename=document.filename,
            document_id=document.document_id,
            **{EDITION: edition},
        )
        if 0 in numbers:
            metadata[GOLD_DROPPED] = "page 0"
        return Question(
            question_id=name,
            question=asked(item, "question"),
            answers=(answer,),
            benchmark="mmlongbench",
            answer_format=answer_form(item),
            gold_pages=gold,
            hops=max(1, len(gold)),
            evidence_sources=names(item["evidence_sources"]),
            answerable=answerable,
            metadata=metadata,
        )

    return collect(path, items, lambda position, item: f"mmlongbench-{position:04d}", build)


def _unanswerable(answer: str) -> bool:
    return answer.strip().lower() == "not answerable"
