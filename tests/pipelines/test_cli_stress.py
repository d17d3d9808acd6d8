"""`visor counterfactual` and `visor stress` on a user's documents, with the reader that needs no model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipelines.conftest import Visor
from tests.visor_core.stress.documents import STAFF, write_report
from visor_core.config import Home
from visor_core.config.derived_corpora import is_derived

ASKED = ("--benchmark", "mmlongbench", "--corpus", "documents", "--policy", "reader")


@pytest.fixture
def home(visor: Visor, tmp_path: Path) -> Path:
    """An ingested corpus of three reports, and a question on each."""
    folder = tmp_path / "in"
    for name, staff in STAFF.items():
        write_report(folder / f"{name}.pdf", name, staff.replace(",", ""))
    assert visor("ingest", str(folder), "--set", "documents.ocr=never").code == 0
    items = [
        {"doc_id": f"{name}.pdf", "question": f"How many people did {name} employ?", "answer": staff.replace(",", ""),
         "evidence_pages": "[2]", "evidence_sources": "[]", "answer_format": "Int"}
        for name, staff in STAFF.items()
    ]  # fmt: skip
    (tmp_path / "questions.json").write_text(json.dumps(items), encoding="utf-8")
    return tmp_path / "home"


def test_values_are_changed_curves_are_drawn_and_mistakes_are_named(visor: Visor, home: Path) -> None:
    asked = (*ASKED, "--questions", str(home.parent / "questions.json"))
    done = visor("counterfactual", *asked)
    assert done.code == 0, done.err
    assert "changed and verified 3" in " ".join(done.out.split())
    (path,) = (home / "reports").glob("counterfactual-*.json")
    values = json.loads(path.read_text(encoding="utf-8"))
    assert [row["right_before"] for row in values["rows"]] == [True, True, True]
    assert [row["outcome"] for row in values["rows"]] == ["followed"] * 3
    (made,) = [name for name in Home(home).corpora() if is_derived(name)]
    assert made == values["changed_corpus"]
    done = visor("stress", "turns", "--at", "1,6", *asked)
    assert done.code == 0, done.err
    (path,) = (home / "reports").glob("stress-turns-*.json")
    points = json.loads(path.read_text(encoding="utf-8"))["points"]
    assert [point["right"]["estimate"] for point in points] == [0.0, 1.0]
    assert path.with_suffix(".html").is_file()
    freed = visor("gc").out
    assert "without a re" not in freed  # neither corpora nor episodes
    for report in (home / "reports").glob("*.json"):
        report.unlink()
    freed = visor("gc").out
    assert f"corpora/{made}" in freed
    assert "made for a stress or counterfactual without a report" in freed
    for wrong, told in (
        (("wind",), "choose one of distractors"),
        (("turns", "--at", "0"), "whole numbers from 1"),
        (("turns", "--at", "one"), "write 0,1,2,4"),
        (("injection", "--at", "1"), "in every place"),
        (("hops", "--at", "7"), "no question needs 7 pages"),
    ):
        done = visor("stress", *wrong, *asked)
        assert (done.code, told in " ".join(done.err.split())) == (2, True), done.err
