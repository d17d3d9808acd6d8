"""A home with a small ingested corpus and questions on it in MMLongBench-Doc's form, for commands that measure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.pipelines.conftest import Visor
from tests.pipelines.test_cli_corpus import write_pdf

# All from inside MLflow 3.17 (https://github.com/mlflow/mlflow) and alembic 1.20: what they deprecate, connections left
# to the collector, a loader strategy of SQLAlchemy's, a type hint of a model flavour.
TRACKED = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
"""The warnings of a module whose commands are tracked."""


def measured_home(
    visor: Visor, folder: Path, pages: Mapping[str, str], asked: Iterable[tuple[str, str, str]], form: str
) -> Path:
    """Ingest a document of one page for every name, and write `questions.json` beside the home.

    Args:
        folder: that of the `visor` fixture's home.
        pages: the text of the page, by the document's name.
        asked: (document, question, answer).
        form: the answers' format.
    """
    (folder / "in").mkdir()
    for name, text in pages.items():
        write_pdf(folder / "in" / f"{name}.pdf", (text,))
    assert visor("ingest", str(folder / "in"), "--set", "documents.ocr=never").code == 0
    items = [
        {"doc_id": f"{document}.pdf", "question": question, "answer": answer, "evidence_pages": "[1]",
         "evidence_sources": "[]", "answer_format": form}
        for document, question, answer in asked
    ]  # fmt: skip
    (folder / "questions.json").write_text(json.dumps(items), encoding="utf-8")
    return folder / "home"
