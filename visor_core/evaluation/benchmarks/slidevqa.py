"""SlideVQA (Tanaka et al., AAAI 2023): JSON lines, a deck of 20 slides, evidence pages count from 1.

A deck is found in the corpus as one document named after it (`<deck_name>.pdf`) or as slide pictures in a folder of
its name. The released boxes file marks the layout of slides, not the evidence of questions, and is not read.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks.resolve import BenchmarkQuestions, PageResolver, required
from visor_core.questions import Question

_KEYS = ("deck_name", "qa_id", "question", "answer", "evidence_pages")


def read(path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The questions of a file.

    Raises:
        DataError: naming the line, if the file is not of this form.
    """
    if not path.is_file():
        raise DataError(f"no benchmark file at {path}: give the path of the questions file")
    questions: list[Question] = []
    left_out: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            item = required(json.loads(line), _KEYS, where)
        except json.JSONDecodeError as error:
            raise DataError(f"{where} is not valid JSON: {error}") from error
        gold = [_slide(item, slide, pages, where) for slide in dict.fromkeys(item["evidence_pages"])]
        if any(page is None for page in gold):
            left_out.append(str(item["qa_id"]))
            continue
        questions.append(
            Question(
                question_id=f"slidevqa-{item['qa_id']}",
                question=str(item["question"]),
                answers=(str(item["answer"]),),
                benchmark="slidevqa",
                gold_pages=tuple(page for page in gold if page is not None),
                hops=max(1, len(gold)),
                evidence_sources=(str(item["answer_type"]),) if item.get("answer_type") else (),
                metadata={
                    "filename": str(item["deck_name"]),
                    "reasoning_type": str(item.get("reasoning_type", "")),
                    "arithmetic_expression": str(item.get("arithmetic_expression", "")),
                },
            )
        )
    return BenchmarkQuestions(tuple(questions), tuple(left_out))


def _slide(item: dict[str, Any], slide: object, pages: PageResolver, where: str) -> str | None:
    """Page id of one slide, from the deck's document or from its picture."""
    if not isinstance(slide, int):
        raise DataError(f"{where}: evidence page {slide!r} is not a number")
    deck, urls = str(item["deck_name"]), item.get("image_urls") or []
    found = pages.page(deck, slide)
    if found is None and isinstance(urls, list) and 1 <= slide <= len(urls):
        found = pages.picture(deck, PurePosixPath(urlsplit(str(urls[slide - 1])).path).name)
    return found
