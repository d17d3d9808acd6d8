"""`--policy`: a policy without a model plays `visor ask` and `visor eval`, and is known by its name afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipelines.conftest import Visor
from tests.pipelines.test_cli_corpus import write_pdf

# From inside MLflow 3.17 (https://github.com/mlflow/mlflow) and alembic 1.20, as in test_cli_eval.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture
def home(visor: Visor, tmp_path: Path) -> Path:
    """An ingested corpus of two documents, and a question on one of them."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_pdf(folder / "acme.pdf", ("The acme staff is 47 people.",))
    write_pdf(folder / "borel.pdf", ("The borel staff is 31 people.",))
    assert visor("ingest", str(folder), "--set", "documents.ocr=never").code == 0
    item = {"doc_id": "borel.pdf", "question": "How many people is the borel staff?", "answer": "31",
            "evidence_pages": "[1]", "evidence_sources": "[]", "answer_format": "Int"}  # fmt: skip
    (tmp_path / "questions.json").write_text(json.dumps([item]), encoding="utf-8")
    return tmp_path / "home"


def test_the_reader_is_asked_and_measured(visor: Visor, home: Path) -> None:
    asked = visor("ask", "--policy", "reader", "How many people is the borel staff?")
    assert asked.code == 0, asked.err
    assert "\n31\n  borel.pdf, page 1, box" in asked.out
    questions = str(home.parent / "questions.json")
    measured = visor(
        "eval", "--policy", "reader", "--benchmark", "mmlongbench", "--questions", questions, "--corpus", "documents"
    )
    assert measured.code == 0, measured.err
    (path,) = (home / "evaluations").glob("*.json")
    result = json.loads(path.read_text(encoding="utf-8"))
    assert (result["policy"], result["metrics"]["accuracy"]) == ("reader", 1.0)
    (kept,) = (home / "evaluations" / "lineage").glob("*.json")
    lineage = json.loads(kept.read_text(encoding="utf-8"))
    assert (lineage["call"]["policy"], lineage["from_outside"]["policy"]) == ("reader", "reader")
    assert "server" not in lineage["from_outside"]


def test_a_policy_without_a_model_takes_none(visor: Visor, home: Path) -> None:
    unknown = visor("ask", "--policy", "oracle", "x")
    assert (unknown.code, "--policy 'oracle' is not one of reader" in unknown.err) == (2, True)
    both = visor("ask", "--policy", "reader", "--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "x")
    assert both.code == 2
    assert "--policy reader has no model: leave out --endpoint and --model" in both.err
    compact = visor("ask", "--policy", "reader", "--set", "agent.prompts=compact", "x")
    assert (compact.code, "--set agent.prompts=full" in compact.err) == (2, True)
