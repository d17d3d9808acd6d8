"""DocScope (arXiv 2605.08888): evidence as boxes on pages, and facts; pages count from 1.

Source: `code/README.md` and `code/infer/benchmark_io.py` of github.com/MiliLab/DocScope: `benchmark.json`, a list. Its
boxes are pixels at 144 dots an inch from the top left; they are kept as points, page by page, under the metadata key
`regions` (`[[page_id, x0, y0, x1, y1], …]` as JSON). Only language models judge its answers.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from visor_core.evaluation.benchmarks.files import read_items
from visor_core.evaluation.benchmarks.resolve import (
    BenchmarkQuestions,
    PageResolver,
    asked,
    collect,
    described,
    entries,
    names,
    page_numbers,
    required,
    text,
)
from visor_core.questions import Question

KEYS = ("id", "pdf", "question", "answer", "evidences")
REGIONS = "regions"
"""Metadata key of a question whose evidence is boxes: page ids and points, as JSON."""
_POINTS_PER_PIXEL = 72 / 144


def read(path: Path, pages: PageResolver) -> BenchmarkQuestions:
    """The questions of a file, and the items that cannot be used.

    Raises:
        DataError: if the file cannot be read, or none of its items can be used.
    """

    def build(name: str, item: dict[str, Any]) -> Question:
        item = required(item, KEYS)
        text(item, "id")
        given = text(required(item["pdf"], ("doc_id_str",)), "doc_id_str")
        answer = required(item["answer"], ("answer_text",))
        document = pages.document(given)
        evidence = [required(place, ("page",)) for place in entries(item, "evidences")]
        numbers = page_numbers([place["page"] for place in evidence], "evidences")
        gold = tuple(pages.page(given, number) for number in numbers)
        regions = [
            [pages.page(given, *page_numbers([place["page"]], "page")), *box]
            for place in evidence
            if (box := _points(place.get("bbox")))
        ]
        return Question(
            question_id=name,
            question=asked(item, "question"),
            answers=(text(answer, "answer_text"),),
            benchmark="docscope",
            split=str(item.get("split") or ""),
            gold_pages=gold,
            hops=max(1, len(gold)),
            evidence_sources=tuple(
                dict.fromkeys(kind for place in evidence for kind in names(place.get("element_type")))
            ),
            answerable=answer.get("is_answerable") is not False,
            metadata=described(
                item.get("extract_class"),
                filename=document.filename,
                document_id=document.document_id,
            )
            | ({REGIONS: json.dumps(regions)} if regions else {}),
        )

    return collect(path, read_items(path), lambda position, item: f"docscope-{item.get('id', position)}", build)


def _points(box: object) -> list[float]:
    """A box in points; empty where it is none."""
    if not isinstance(box, list) or len(box) != 4:
        return []
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in box):
        return []
    return [v * _POINTS_PER_PIXEL for v in box] if box[2] > box[0] and box[3] > box[1] else []
