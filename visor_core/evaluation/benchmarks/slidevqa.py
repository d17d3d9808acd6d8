"""SlideVQA (Tanaka et al., AAAI 2023): JSON lines or the hub's Parquet, a deck of 20 slides, evidence pages from 1.

Source: the files of github.com/nttmdlab-nlp/SlideVQA and the columns of the hub's NTT-hil-insight/SlideVQA. A deck is
found in the corpus as one document named after it (`<deck_name>.pdf`) or as slide pictures in a folder of its name. The
released boxes file marks the layout of slides, not the evidence of questions, and is not read.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from visor_core.evaluation.benchmarks.files import read_items
from visor_core.evaluation.benchmarks.resolve import (
    NO_SUCH_PAGE,
    NOT_IN_CORPUS,
    BenchmarkQuestions,
    PageResolver,
    UnusableError,
    asked,
    collect,
    described,
    page_numbers,
    required,
    text,
)
from visor_core.questions import Question

KEYS = ("deck_name", "qa_id", "question", "answer", "evidence_pages")


def read(path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The questions of a file, and the items that cannot be used.

    Raises:
        DataError: if the file cannot be read, or none of its items can be used.
    """

    def build(name: str, item: dict[str, Any]) -> Question:
        item = required(item, KEYS)
        text(item, "qa_id")
        numbers = page_numbers(item["evidence_pages"], "evidence_pages")
        filename, gold = _slides(text(item, "deck_name"), numbers, item.get("image_urls"), pages)
        return Question(
            question_id=name,
            question=asked(item, "question"),
            answers=(text(item, "answer"),),
            benchmark="slidevqa",
            gold_pages=gold,
            hops=max(1, len(gold)),
            metadata=described(
                item.get("reasoning_type"),
                "slides",
                filename=filename,
                answer_type=item.get("answer_type"),
                arithmetic_expression=item.get("arithmetic_expression"),
            ),
        )

    return collect(
        path, read_items(path), lambda position, item: f"slidevqa-{item.get('qa_id', f'line {position + 1}')}", build
    )


def _slides(deck: str, numbers: list[int], urls: object, pages: PageResolver) -> tuple[str, tuple[str, ...]]:
    """(file name, page ids) of slides, from the deck's document or from its pictures; pictures have the deck's name."""
    try:
        document = pages.document(deck)
    except UnusableError as reason:
        names = [PurePosixPath(urlsplit(str(url)).path).name for url in urls] if isinstance(urls, list) else []
        if reason.reason != NOT_IN_CORPUS or not any(pages.picture(deck, name) for name in names):
            raise
        return deck, tuple(_picture(deck, number, names, pages) for number in numbers)
    return document.filename, tuple(pages.page(deck, number) for number in numbers)


def _picture(deck: str, number: int, names: list[str], pages: PageResolver) -> str:
    found = pages.picture(deck, names[number - 1]) if 1 <= number <= len(names) else None
    if found is None:
        raise UnusableError(NO_SUCH_PAGE, f"it names slide {number} of {deck}, of which the corpus has no picture")
    return found
