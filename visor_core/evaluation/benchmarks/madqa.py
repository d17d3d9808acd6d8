"""MADQA (arXiv 2603.12180): questions over many documents, evidence as (document, page), pages count from 1.

Source: `examples/` and `eval/` of github.com/OxRML/MADQA: columns `id`, `question`, `answer_variants` (each a list of
values), `evidence` (`document`, `page`), `document_category`, `domain`. The labels of its test split are not
published. Its rule (ANLS* over lists) is `scoring.anls_star`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from visor_core.evaluation.benchmarks.files import read_items
from visor_core.evaluation.benchmarks.resolve import (
    NO_LABELS,
    BenchmarkQuestions,
    PageResolver,
    UnusableError,
    asked,
    collect,
    described,
    entries,
    page_numbers,
    required,
    text,
)
from visor_core.questions import Question

KEYS = ("id", "question", "answer_variants", "evidence")


def read(path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The questions of a file, and the items that cannot be used.

    Raises:
        DataError: if the file cannot be read, or none of its items can be used.
    """

    def build(name: str, item: dict[str, Any]) -> Question:
        item = required(item, KEYS)
        text(item, "id")
        variants, evidence = entries(item, "answer_variants"), entries(item, "evidence")
        if not variants or not evidence:
            raise UnusableError(NO_LABELS, "it has no answer or no evidence: those of the test split are not published")
        where = [required(place, ("document", "page")) for place in evidence]
        gold: dict[str, None] = {}
        for place in where:
            for number in page_numbers([place["page"]], "page"):
                gold[pages.page(text(place, "document"), number)] = None
        documents = list(dict.fromkeys(text(place, "document") for place in where))
        spread = "cross-document" if len(documents) > 1 else "cross-page" if len(gold) > 1 else "single-page"
        several = any(isinstance(variant, list) and len(variant) > 1 for variant in variants)
        return Question(
            question_id=name,
            question=asked(item, "question"),
            answers=tuple(_answer(variant) for variant in variants),
            benchmark="madqa",
            answer_format="List" if several else "",
            gold_pages=tuple(gold),
            hops=len(gold),
            metadata=described(
                spread, item.get("document_category"), filename=", ".join(documents), domain=item.get("domain")
            ),
        )

    return collect(path, read_items(path), lambda position, item: f"madqa-{item.get('id', position)}", build)


def _answer(variant: object) -> str:
    """One accepted answer: its single value, or its values as a list is written."""
    if isinstance(variant, list) and len(variant) == 1:
        variant = variant[0]
    return text({"answer": variant}, "answer")
