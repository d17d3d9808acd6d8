"""A teacher behind a server that writes boxes in another frame than the student's: SFT is given the student's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from assets_defs.machinery.builds import read_record
from assets_defs.machinery.stage import Node
from pipelines.choice import Choice
from tests.pipelines.chat_server import serving
from tests.pipelines.materializing import materialize
from tests.visor_core.documents.writing import write_pdf
from visor_core.config import Home
from visor_core.index import PageIndex
from visor_core.questions import Question, write_questions
from visor_core.trajectories.replay import rebuild
from visor_core.trajectories.store import read_trajectories

# LanceDB's Rust side and Dagster's SQLite storage leave sockets and cursors to the collector.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.slow]


def thousandths(messages: list[dict[str, Any]]) -> str:
    """A teacher that zooms into the middle of the page, in Qwen3-VL's units, and answers."""
    pictures = sum(part["type"] == "image_url" for m in messages for part in m["content"] if isinstance(part, dict))
    return [
        "<think>A page on staff is needed.</think><search>acme staff</search>",
        "<think>The middle is small.</think><verdict>keep</verdict><bbox>[250,250,750,750]</bbox>",
        "<think>It says 47.</think><verdict>keep</verdict><answer>47 [2]</answer>",
    ][min(pictures, 2)]


def test_a_qwen3_vl_teacher_of_a_qwen2_5_vl_student(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    write_pdf(home.root / "inbox" / "mine" / "acme.pdf", ["\n".join(["acme staff 47 people " * 2] * 9)])
    with serving(thousandths) as url:
        path = tmp_path / "mine.yaml"
        sections: dict[str, Any] = {
            "name": "mine",
            "corpora": {"train": "mine", "development": "other"},
            "documents": {"ocr": "never", "workers": 1},
            "index": {"embedders": ["hash"]},
            "model": {"name": "Qwen/Qwen2.5-VL-3B-Instruct"},
            "teacher": {"endpoint": url, "model": "Qwen/Qwen3-VL-235B-A22B-Instruct"},
        }
        path.write_text(yaml.safe_dump(sections))
        choice = Choice(str(path))
        materialize(choice, home, ["page_index"], corpus="mine")
        record = read_record(home, Node("page_index", "mine"))
        index = PageIndex.open(record.folder(home), record.index_tag)
        (page,) = [page.page_id for page in index.pages()]
        index.close()
        asked = Question("q1", "acme staff", ("47",), gold_pages=(page,))
        write_questions(home.root / "inbox" / "mine.questions.parquet", [asked])
        materialize(choice, home, ["sft_dataset"])
    (lesson,) = read_trajectories(read_record(home, Node("sft_dataset")).folder(home))
    shown, crop = (turn.observation.images[0] for turn in lesson.turns[:2])
    assert shown.width % 28 == shown.height % 28 == 0
    # The middle half of the page, and 28 pixels a side.
    margin = (28 / shown.width, 28 / shown.height)
    wanted = (0.25 - margin[0], 0.25 - margin[1], 0.75 + margin[0], 0.75 + margin[1])
    assert crop.box.as_tuple() == pytest.approx(wanted, abs=1e-3)
    box = [round(0.25 * shown.width), round(0.25 * shown.height), round(0.75 * shown.width), round(0.75 * shown.height)]
    assert f"<bbox>[{','.join(map(str, box))}]</bbox>" in lesson.turns[1].completion.text
    assert "in pixels of the page image as shown" in str(lesson.turns[1].prompt.messages[0].content[0])
    assert rebuild(lesson) == [turn.prompt for turn in lesson.turns]
