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


SEED, COMPANIES, EACH = 1, 24, 4
"""72 reports of about 48 pages, and 288 questions about them."""


def open_reports(folder: Path, config: IndexConfig) -> tuple[PageIndex, list[Question]]:
    """The index of the made reports below `folder`, and the questions about them."""
    kept = folder / f"reports-{SEED}-{COMPANIES}-{EACH}"
    asked_file = kept / "questions.json"
    if not asked_file.is_file():
        asked = write_reports(kept / "documents", SEED, count=COMPANIES, each=EACH)
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
        metadata={
            "document_id": document_id,
            "filename": asked.filename,
            "company": asked.company,
            "kind": asked.kind,
        },
    )
