"""The made reports as a corpus, with their questions: written and ingested once, then used again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.reports.corpus import Asked, write_reports
from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages
from visor_core.index.records import page_id_of
from visor_core.questions import Question

DOCUMENTS = DocumentsConfig(ocr="never", dpi=36)
"""Pictures play no part."""


def open_reports(
    folder: Path, seed: int, *, count: int, each: int, config: IndexConfig
) -> tuple[PageIndex, list[Question]]:
    """The index of `count` companies' reports of three years below `folder`, and `each` questions a report."""
    kept = folder / f"reports-{seed}-{count}-{each}"
    asked_file = kept / "questions.json"
    if not asked_file.is_file():
        asked = write_reports(kept / "documents", seed, count=count, each=each)
        asked_file.write_text(json.dumps([asdict(one) for one in asked]), encoding="utf-8")
    corpus = Corpus(kept / "corpus")
    register_documents(corpus, [kept / "documents"], DOCUMENTS)
    render_pages(corpus, DOCUMENTS)
    build_index(corpus, config, load_embedders(config))
    index = PageIndex.open(corpus.root)
    ids = {document.filename: document.document_id for document in index.documents()}
    made = [Asked(**one) for one in json.loads(asked_file.read_text(encoding="utf-8"))]
    return index, [_question(number, one, ids[one.filename]) for number, one in enumerate(made)]


def _question(number: int, asked: Asked, document_id: str) -> Question:
    return Question(
        question_id=f"report-{number:04d}",
        question=asked.question,
        answers=(),
        gold_pages=tuple(page_id_of(document_id, page) for page in asked.gold),
        metadata={"document_id": document_id, "filename": asked.filename, "kind": asked.kind},
    )
