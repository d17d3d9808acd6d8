"""Benchmark readers on small files of the released forms, and on the real ones where they are present."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks import mmlongbench, nano, slidevqa, vidoseek
from visor_core.evaluation.benchmarks.resolve import PageResolver
from visor_core.questions import Question, write_questions

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


@dataclass(frozen=True)
class Document:
    """The part of a document record that readers use."""

    document_id: str
    filename: str
    source_uri: str = ""
    num_pages: int = 20


PAGES = PageResolver([Document("aa", "report.pdf"), Document("bb", "deck.pdf", num_pages=3)])


def _write(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def _mm(**changes: object) -> dict[str, object]:
    item: dict[str, object] = {
        "doc_id": "report.pdf",
        "doc_type": "Report",
        "question": "How many?",
        "answer": "4",
        "evidence_pages": "[5, 2, 5]",
        "evidence_sources": "['Chart', 'Table']",
        "answer_format": "Int",
    }
    return {**item, **changes}


def test_mmlongbench_reads_string_lists_and_one_based_pages(tmp_path: Path) -> None:
    found = mmlongbench.read(_write(tmp_path / "q.json", [_mm(), _mm(doc_id="absent.pdf")]), PAGES)
    (question,) = found.questions
    assert question.gold_pages == ("aa/00005", "aa/00002")
    assert question.hops == 2
    assert question.evidence_sources == ("Chart", "Table")
    assert question.answer_format == "Int"
    assert question.answerable
    assert found.left_out == ("mmlongbench-0001",)


def test_mmlongbench_page_zero_and_unanswerable(tmp_path: Path) -> None:
    items = [_mm(evidence_pages="[0]"), _mm(answer="Not answerable", evidence_pages="[]", answer_format="None")]
    first, second = mmlongbench.read(_write(tmp_path / "q.json", items), PAGES, within_document=True).questions
    assert first.gold_pages == ()
    assert first.metadata["document"] == "report.pdf"
    assert not second.answerable


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "must be a JSON list"),
        ([{"doc_id": "report.pdf"}], "item 0 lacks question"),
        ([7], "item 0 is int"),
        ([_mm(evidence_pages="__import__('os')")], "is not a list"),
        ([_mm(evidence_pages="[99]")], "does not have"),
    ],
)
def test_mmlongbench_refuses_other_forms(tmp_path: Path, data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        mmlongbench.read(_write(tmp_path / "q.json", data), PAGES)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no benchmark file"):
        mmlongbench.read(tmp_path / "none.json", PAGES)
    with pytest.raises(DataError, match="no benchmark file"):
        slidevqa.read(tmp_path / "none.jsonl", PAGES)
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"broken\.json is not valid JSON"):
        vidoseek.read(broken, PAGES)


def test_vidoseek(tmp_path: Path) -> None:
    example = {
        "uid": "u1",
        "query": "Where?",
        "reference_answer": "Kent",
        "meta_info": {"file_name": "report.pdf", "reference_page": [11], "source_type": "2d_layout"},
    }
    other = {**example, "uid": "u2", "meta_info": {"file_name": "no.pdf", "reference_page": [1]}}
    found = vidoseek.read(_write(tmp_path / "q.json", {"examples": [example, other]}), PAGES)
    (question,) = found.questions
    assert (question.question_id, question.gold_pages, question.answers) == ("u1", ("aa/00011",), ("Kent",))
    assert question.evidence_sources == ("2d_layout",)
    assert found.left_out == ("u2",)
    bad = {**example, "meta_info": {"file_name": "report.pdf", "reference_page": ["11"]}}
    with pytest.raises(DataError, match="list of page numbers"):
        vidoseek.read(_write(tmp_path / "q.json", {"examples": [bad]}), PAGES)


def test_slidevqa_by_deck_document_or_picture(tmp_path: Path) -> None:
    pages = PageResolver(
        [Document("bb", "deck.pdf", num_pages=3), Document("cc", "s-2.jpg", "file:///data/my%20deck/s-2.jpg", 1)]
    )
    records = [
        {"deck_name": "deck", "qa_id": 1, "question": "a?", "answer": "b", "evidence_pages": [3, 1]},
        {
            "deck_name": "my deck",
            "qa_id": 2,
            "question": "c?",
            "answer": "d",
            "evidence_pages": [2],
            "image_urls": ["https://slides.example/x/s-1.jpg", "https://slides.example/x/s-2.jpg?cb=1"],
        },
        {"deck_name": "deck", "qa_id": 3, "question": "e?", "answer": "f", "evidence_pages": [9]},
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("\n".join(map(json.dumps, records)) + "\n\n", encoding="utf-8")
    found = slidevqa.read(path, pages)
    assert [q.gold_pages for q in found.questions] == [("bb/00003", "bb/00001"), ("cc/00001",)]
    assert found.left_out == ("3",)
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1 lacks deck_name"):
        slidevqa.read(path, pages)


def test_nano_split_and_the_guarded_test_range(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    write_questions(path, [Question("q1", "?", ("1",), split="development"), Question("q2", "?", ("2",), split="test")])
    assert [q.question_id for q in nano.read(path).questions] == ["q1"]
    with pytest.raises(DataError, match="--final"):
        nano.read(path, "test")
    with pytest.raises(DataError, match="no questions of split 'train'"):
        nano.read(path, "train")


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "mmlongbench-doc").is_dir(), reason="../shared/data is not here")
def test_real_mmlongbench_file() -> None:
    manifest = json.loads((SHARED / "mmlongbench-doc" / "manifest.json").read_text(encoding="utf-8"))
    documents = [Document(f"{i:02d}", d["doc_id"], num_pages=d["pages"]) for i, d in enumerate(manifest)]
    found = mmlongbench.read(SHARED / "mmlongbench-doc" / "samples_subset.json", PageResolver(documents))
    assert len(found.questions) == 371
    assert sum(bool(q.gold_pages) for q in found.questions) == 293


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "vidoseek").is_dir(), reason="../shared/data is not here")
def test_real_vidoseek_example() -> None:
    name = "00a76e3a9a36255616e2dc14a6eb5dde598b321f.pdf"
    found = vidoseek.read(SHARED / "vidoseek" / "rag_dataset.example.json", PageResolver([Document("x", name)]))
    assert found.questions[0].gold_pages == ("x/00011",)
