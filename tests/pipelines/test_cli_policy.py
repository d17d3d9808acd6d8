"""`--policy`: a policy without a model plays `visor ask` and `visor eval`; `visor debug` shows where it went wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipelines.conftest import Visor
from tests.pipelines.measured_home import TRACKED, measured_home

pytestmark = TRACKED


@pytest.fixture
def home(visor: Visor, tmp_path: Path) -> Path:
    """An ingested corpus of two documents, and two questions on one of them, the second beyond the reader."""
    pages = {"acme": "The acme staff is 47 people.", "borel": "The borel staff is 31 people."}
    asked = [
        ("borel", "How many people is the borel staff?", "31"),
        ("borel", "How many more people would make the <b>borel staff</b> forty?", "9"),
    ]
    return measured_home(visor, tmp_path, pages, asked, "Int")


def test_the_reader_is_asked_and_measured(visor: Visor, home: Path) -> None:
    asked = visor("ask", "--policy", "reader", "How many people is the borel staff?")
    assert asked.code == 0, asked.err
    assert "\n31\n  borel.pdf, page 1, box" in asked.out
    questions = str(home.parent / "questions.json")
    measured = visor(
        "eval", "--policy", "reader", "--benchmark", "mmlongbench", "--questions", questions, "--corpus", "documents"
    )
    assert measured.code == 0, measured.err
    assert "all gold pages shown" in measured.out
    assert "not reasoned 1" in measured.out
    (path,) = (home / "evaluations").glob("*.json")
    result = json.loads(path.read_text(encoding="utf-8"))
    assert (result["policy"], result["metrics"]["accuracy"]) == ("reader", 0.5)
    assert result["metrics"]["gold_complete"] == result["metrics"]["citation_precision"] == 1.0
    assert result["diagnoses"]["not reasoned"] == 1
    (kept,) = (home / "evaluations" / "lineage").glob("*.json")
    lineage = json.loads(kept.read_text(encoding="utf-8"))
    assert (lineage["call"]["policy"], lineage["from_outside"]["policy"]) == ("reader", "reader")
    assert "server" not in lineage["from_outside"]
    _debugged(visor, home, path)


def _debugged(visor: Visor, home: Path, path: Path) -> None:
    """The miss by words of its question, the right answer by id, and what is not there."""
    missed = visor("debug", "would make", "--result", str(path))
    assert missed.code == 0, missed.err
    assert "diagnosis not reasoned in turn" in missed.out
    assert "expected  9" in missed.out
    assert "borel.pdf, page 1: shown in turn" in missed.out
    (page,) = (home / "reports").glob("debug-mmlongbench-0001*.html")
    html = page.read_text(encoding="utf-8")
    assert "&lt;b&gt;borel staff&lt;/b&gt;" in html
    assert "<b>borel staff</b>" not in html
    assert "default-src 'none'" in html
    assert html.count("data:image/webp") >= 1
    right = visor("debug", "mmlongbench-0000")
    assert (right.code, "diagnosis no miss" in right.out) == (0, True)
    assert "box 0." in right.out  # 31 is printed once: its box is gold
    several = visor("debug", "borel").err
    assert several.startswith("visor: 'borel' stands in 2 questions, give an id or more words: mmlongbench-0000 (")
    nowhere = visor("debug", "flamingo")
    assert (nowhere.code, "no kept episode of a question 'flamingo'" in nowhere.err) == (2, True)
    unknown = visor("debug", "flamingo", "--result", "other")
    assert (unknown.code, "is neither a file nor one of the newest results here" in unknown.err) == (2, True)


def test_a_policy_without_a_model_takes_none(visor: Visor, home: Path) -> None:
    unknown = visor("ask", "--policy", "oracle", "x")
    assert (unknown.code, "--policy 'oracle' is not one of reader" in unknown.err) == (2, True)
    both = visor("ask", "--policy", "reader", "--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "x")
    assert both.code == 2
    assert "--policy reader has no model: leave out --endpoint and --model" in both.err
    compact = visor("ask", "--policy", "reader", "--set", "agent.prompts=compact", "x")
    assert (compact.code, "--set agent.prompts=full" in compact.err) == (2, True)
