"""An evaluation is made again from its record, and every way that can end has an exit code of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.conftest import Visor
from tests.pipelines.test_cli_corpus import write_pdf
from tests.tiny_model import build_model, build_processor
from visor_core.config import Home
from visor_core.lineage.comparison import EXIT

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inside MLflow 3.17 and alembic 1.20
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.slow,
    pytest.mark.slow_walk,
]
Change = Callable[[dict[str, Any]], None]


def _evaluated(visor: Visor, home: Home, place: Path) -> tuple[Path, Path]:
    """The result of an evaluation of a checkpoint from elsewhere on a corpus of one page, and that checkpoint."""
    (place / "in").mkdir()
    write_pdf(place / "in" / "acme.pdf", ("acme staff 47",))
    ingested = visor("ingest", str(place / "in"), "--set", "documents.ocr=never", home=home.root)
    assert ingested.code == 0, ingested.err
    checkpoint = place / "checkpoint"
    build_model(1).save_pretrained(checkpoint)
    build_processor().save_pretrained(checkpoint)
    item = {"doc_id": "acme.pdf", "question": "acme staff?", "answer": "47", "evidence_pages": "[1]"}
    questions = place / "questions.json"
    questions.write_text(json.dumps([item | {"evidence_sources": "[]", "answer_format": "Str"}]), encoding="utf-8")
    asked = ("--benchmark", "mmlongbench", "--questions", str(questions), "--corpus", "documents")
    limits = ("--set", "agent.max_turns=2", "--set", "agent.max_new_tokens=8")
    told = visor("eval", *asked, "--checkpoint", str(checkpoint), *limits, home=home.root)
    assert told.code in (0, 1), told.err
    (result,) = home.evaluations.glob("*.json")
    return result, checkpoint


def test_an_evaluation_is_made_again_and_its_end_has_a_code(visor: Visor, tmp_path: Path) -> None:
    home, new = Home(tmp_path / "home"), tmp_path / "new"
    result, checkpoint = _evaluated(visor, home, tmp_path)
    (record,) = (home.evaluations / "lineage").glob("*.json")
    stored = json.loads(record.read_text(encoding="utf-8"))

    def again(change: Change = lambda stored: None) -> tuple[int, str]:
        changed = json.loads(json.dumps(stored))
        change(changed)
        record.write_text(json.dumps(changed), encoding="utf-8")
        done = visor("reproduce", str(result), "--home", str(new), home=home.root)
        return done.code, done.out + done.err

    code, said = again()
    assert (code, "evaluation: identical" in said) == (EXIT["identical"], True), said
    assert EXIT["identical"] == 0

    # Made on another kind of machine, with weights that came out otherwise there: it scores the same.
    def elsewhere(changed: dict[str, Any]) -> None:
        changed["machine"]["vendor"] = "AnotherVendor"
        changed["weights"] = "9" * 64

    code, said = again(elsewhere)
    assert code == EXIT["agrees"] == 3, said
    assert "another kind of machine: vendor: AnotherVendor there" in said
    assert "answers right: the same on all 1 questions" in said
    assert "agrees: what differs, first in evaluation, scores the same" in said

    # The same on this kind of machine has no excuse.
    code, said = again(lambda changed: changed.update(weights="9" * 64))
    assert (code, "differs, first in evaluation" in said) == (EXIT["differs"], True), said
    assert EXIT["differs"] == 1

    shutil.rmtree(checkpoint)
    code, said = again()
    assert code == 2
    assert "missing: the checkpoint " in said
