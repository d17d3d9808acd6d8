"""A user's own questions: JSON lines, or a JSON list, with the fields below.

`question`, and of the rest what is known: `id`, `answer` or `answers`, `answerable` (false: the documents do not hold
it), `answer_format` (Int, Float, Str, List, None or Exact), `document` and `pages` (numbers from 1) or `evidence`
(a list of `{"document", "page", "box"}`, the box as shares [left, top, right, bottom] of the page), `evidence_sources`,
`kind`, `document_type`, `split`. What is not known is not invented: a question without pages measures answers alone,
one without an answer the search for its pages alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from visor_core.evaluation.benchmarks.files import read_items
from visor_core.evaluation.benchmarks.resolve import (
    INCOMPLETE,
    WRONG_FORM,
    BenchmarkQuestions,
    PageResolver,
    UnusableError,
    asked,
    collect,
    described,
    names,
    page_numbers,
    required,
    text,
)
from visor_core.geometry import Box
from visor_core.questions import ANSWER_FORMATS, Question
from visor_core.scoring.answers import never_right

FIELDS = frozenset(
    {
        *("id", "question", "answer", "answers", "answerable", "answer_format", "document", "pages", "evidence"),
        *("evidence_sources", "kind", "document_type", "split"),
    }
)
NOT_KNOWN = "field that is not known"


def read(path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The questions of a file, and the items that cannot be used.

    Raises:
        DataError: if the file cannot be read, or none of its items can be used.
    """

    def build(name: str, item: dict[str, Any]) -> Question:
        item = required(item, ("question",))
        if unknown := sorted(set(item) - FIELDS):
            raise UnusableError(NOT_KNOWN, f"it has {', '.join(unknown)}: known are {', '.join(sorted(FIELDS))}")
        answerable = item.get("answerable") is not False
        answers = tuple(text({"answer": answer}, "answer") for answer in _answers(item))
        form = str(item.get("answer_format") or "")
        if form and form not in (*ANSWER_FORMATS, "Exact"):
            raise UnusableError(WRONG_FORM, f"its answer_format {form} is none of {', '.join(ANSWER_FORMATS)}, Exact")
        gold, boxes = _evidence(item, pages)
        if not answers and answerable and not gold:
            raise UnusableError(INCOMPLETE, "it has neither an answer nor evidence: nothing can be measured by it")
        document = item.get("document")
        made = Question(
            question_id=name,
            question=asked(item, "question"),
            answers=answers or (() if answerable else ("Not answerable",)),
            benchmark="own",
            split=str(item.get("split") or ""),
            answer_format=form or ("" if answerable else "None"),
            gold_pages=gold,
            gold_boxes=boxes,
            hops=max(1, len(gold)),
            evidence_sources=names(item.get("evidence_sources")),
            answerable=answerable,
            metadata=described(
                item.get("kind"),
                item.get("document_type"),
                document_id=pages.document(str(document)).document_id if document else "",
            ),
        )
        if never_right(made):
            raise UnusableError(
                WRONG_FORM, f"its answer {answers[0]!r} is no {form}: no answer would be right; give another format"
            )
        return made

    return collect(path, read_items(path), _name, build, placed=True, mended=True)


def _name(position: int, item: dict[str, Any]) -> str:
    """The id given, or one of the question and where it is asked: the same however the lines are ordered."""
    if item.get("id") not in (None, ""):
        return f"own-{item['id']}"
    asked = repr([item.get("question"), item.get("document"), item.get("pages"), item.get("evidence")])
    return f"own-{hashlib.sha256(asked.encode('utf-8', 'replace')).hexdigest()[:12]}"


def _answers(item: dict[str, Any]) -> list[Any]:
    """What is accepted as an answer."""
    given = item.get("answers", item.get("answer"))
    return given if isinstance(given, list) else [] if given is None else [given]


def _evidence(item: dict[str, Any], pages: PageResolver) -> tuple[tuple[str, ...], tuple[Box, ...]]:
    """The gold pages, and the boxes on them."""
    gold: dict[str, None] = {}
    boxes: list[Box] = []
    if item.get("pages") is not None:
        document = text(required(item, ("document",)), "document")
        gold |= dict.fromkeys(pages.page(document, number) for number in page_numbers(item["pages"], "pages"))
    evidence = item.get("evidence") or []
    for place in evidence if isinstance(evidence, list) else [evidence]:
        place = required(place, ("page",))
        document = text(place if "document" in place else required(item, ("document",)), "document")
        gold |= dict.fromkeys(pages.page(document, number) for number in page_numbers([place["page"]], "page"))
        if place.get("box") is not None:
            boxes.append(_box(place["box"]))
    return tuple(gold), tuple(boxes)


def _box(given: object) -> Box:
    try:
        x0, y0, x1, y1 = (float(v) for v in given)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise UnusableError(WRONG_FORM, f"its box {given!r} is not four numbers") from error
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise UnusableError(WRONG_FORM, f"its box {given!r} is not left, top, right, bottom in shares of the page")
    return Box(x0, y0, x1, y1)
