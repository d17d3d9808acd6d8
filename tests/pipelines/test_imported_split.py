"""A benchmark's train split, imported by documents, goes through teacher, SFT and GRPO; development stays unseen.

The smallest real chain: five PDFs, a teacher behind a server that reads them, a model of some ten thousand weights.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from assets_defs.machinery.builds import read_record
from assets_defs.machinery.stage import Node
from pipelines.choice import Choice
from tests.pipelines.chat_server import serving
from tests.pipelines.conftest import Visor
from tests.pipelines.materializing import materialize
from tests.pipelines.test_watched_folder import tiny_profile
from tests.visor_core.documents.writing import write_pdf
from visor_core.config import Home
from visor_core.questions import read_questions
from visor_core.trajectories.store import read_trajectories

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inside MLflow 3.17 and alembic 1.20
    pytest.mark.slow_walk,
    pytest.mark.timeout(1800),
]
STAFF = {"acme": "47", "borel": "31", "cantor": "62", "delta": "58", "euler": "93"}


def teacher(messages: list[dict[str, Any]]) -> str:
    """Searches for the company that is asked about, zooms in, answers with its number."""
    text = json.dumps(messages)
    name = next(name for name in STAFF if re.search(rf"work at {name}\b", text))
    return [
        f"<think>A page on {name} is needed.</think><search>{name} staff</search>",
        "<think>The middle is small.</think><verdict>keep</verdict><bbox>[250,250,750,750]</bbox>",
        f"<think>It says {STAFF[name]}.</think><verdict>keep</verdict><answer>{STAFF[name]} [2]</answer>",
    ][min(text.count('"image_url"') // 2, 2)]


def test_an_imported_train_split_is_taught_and_trained_on(visor: Visor, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    for name, staff in STAFF.items():
        write_pdf(tmp_path / "in" / f"{name}.pdf", ["\n".join([f"{name} staff {staff} people " * 2] * 9)], title=name)
    assert visor("ingest", str(tmp_path / "in"), "--corpus", "reports", "--set", "documents.ocr=never").code == 0
    items = [
        {"doc_id": f"{name}.pdf", "question": f"{words} work at {name}?", "answer": staff, "evidence_pages": "[1]",
         "evidence_sources": "['Pure-text']", "answer_format": "Int"}
        for name, staff in STAFF.items() for words in ("How many people", "What number of people")
    ]  # fmt: skip
    (tmp_path / "samples.json").write_text(json.dumps(items), encoding="utf-8")
    split = ("--corpus", "reports", "--split-by", "document", "--shares", "0.6,0.4,0")
    taken = visor("questions", "import", str(tmp_path / "samples.json"), *split)
    assert taken.code == 0, taken.err
    with serving(teacher) as url:
        profile = tiny_profile(tmp_path, url, {"train": "reports-train", "development": "reports-development"})
        materialize(Choice(str(profile)), home, ["page_index", "questions"], corpus="reports-development")
        materialize(Choice(str(profile)), home, ["grpo_checkpoint"])
    train = read_questions(read_record(home, Node("questions", "reports-train")).folder(home) / "questions.parquet")
    unseen = read_questions(
        read_record(home, Node("questions", "reports-development")).folder(home) / "questions.parquet"
    )
    assert (len(train), len(unseen)) == (6, 4)
    assert {question.benchmark for question in train} == {"mmlongbench"}
    asked = {question.question_id for question in train}
    taught = read_trajectories(read_record(home, Node("teacher_trajectories")).folder(home))
    assert {episode.question.question_id for episode in taught} == asked
    lessons = read_trajectories(read_record(home, Node("sft_dataset")).folder(home))
    assert {episode.question.question_id for episode in lessons} <= asked
    assert lessons
    assert (read_record(home, Node("sft_checkpoint")).folder(home) / "model.safetensors").is_file()
    trained = read_record(home, Node("grpo_checkpoint"))
    assert (trained.folder(home) / "model.safetensors").is_file()
    rollouts = read_trajectories(trained.build_folder(home) / "rollouts")
    assert {episode.question.question_id for episode in rollouts} <= asked
    forbidden = {page.rpartition("/")[0] for question in unseen for page in question.gold_pages}
    seen = {page.rpartition("/")[0] for episode in (*taught, *lessons, *rollouts) for page in episode.pages_seen}
    assert seen
    assert not seen & forbidden
