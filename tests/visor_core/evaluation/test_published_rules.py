"""From a benchmark's file to the score of an answer: each under its own rule, and no item at another's cost."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.visor_core.evaluation.episodes import QUESTION, episode
from visor_core.agent.trajectory import EvidenceEntry
from visor_core.errors import DataError
from visor_core.evaluation.benchmarks import READERS
from visor_core.evaluation.benchmarks.resolve import PageResolver
from visor_core.evaluation.results import BenchmarkResult, score_episode
from visor_core.questions import Question
from visor_core.scoring.answers import answer_score


@dataclass(frozen=True)
class Document:
    """The part of a document record that readers use."""

    document_id: str
    filename: str
    source_uri: str = ""
    num_pages: int = 20


def _item(benchmark: str, question: str, answer: object, pages: object, document: str, form: str) -> dict[str, Any]:
    if benchmark == "slidevqa":
        return {"deck_name": document, "qa_id": 1, "question": question, "answer": answer, "evidence_pages": pages}
    if benchmark == "longdocurl":
        return {"question_id": "u", "doc_no": document, "question": question, "answer": answer, "evidence_pages": pages}
    if benchmark == "own":
        return {"question": question, "answer": answer, "document": document, "pages": pages}
    if benchmark in ("vidoseek", "vrag"):
        meta = {"file_name": document, "reference_page": pages}
        return {"uid": "u", "query": question, "reference_answer": answer, "meta_info": meta}
    return {
        "doc_id": document,
        "question": question,
        "answer": answer,
        "evidence_pages": pages,
        "evidence_sources": "[]",
        "answer_format": form,
    }


def _read(
    folder: Path,
    benchmark: str,
    *items: dict[str, Any],
    documents: tuple[Document, ...] = (Document("aa", "report.pdf"),),
) -> list[Question] | str:
    """The questions read, or the refusal."""
    path = folder / "questions"
    if benchmark == "slidevqa":
        path.write_text("\n".join(map(json.dumps, items)), encoding="utf-8")
    else:
        path.write_text(json.dumps({"examples": items} if benchmark == "vidoseek" else list(items)), encoding="utf-8")
    try:
        return list(READERS[benchmark](path, PageResolver(documents)).questions)
    except DataError as error:
        return str(error)


@pytest.mark.parametrize(
    ("benchmark", "question", "gold", "answer", "form", "expected"),
    [
        ("slidevqa", "how many people came?", "ten people", "10", "", 1.0),
        ("slidevqa", "q", "yes", "Yes, sales grew", "", 1.0),
        ("slidevqa", "q", "55 percent", "55", "", 1.0),
        ("slidevqa", "q", "net sales rose", "net sale rose", "", 0.0),
        ("vidoseek", "q", "Kent", "Kent", "", None),
        ("mmlongbench", "q", "47", "47%", "Int", 0.0),
        ("mmlongbench", "q", "47", "47.9", "Int", 1.0),
        ("mmlongbench", "q", "Not answerable", "Missing persons unit", "None", 0.0),
        ("mmlongbench", "q", "Not answerable", "not answerable", "None", 1.0),
    ],
)
def test_an_answer_is_scored_by_the_rule_of_its_benchmark(
    tmp_path: Path, benchmark: str, question: str, gold: str, answer: str, form: str, expected: float | None
) -> None:
    found = _read(tmp_path, benchmark, _item(benchmark, question, gold, [1], "report.pdf", form))
    assert isinstance(found, list), found
    assert answer_score(found[0], answer) == expected


@pytest.mark.parametrize("benchmark", ["mmlongbench", "vidoseek"])
@pytest.mark.parametrize(
    ("answer", "pages", "document"),
    [
        ("x", [1, 1418], "report.pdf"),
        ("x", ["no page"], "report.pdf"),
        ("x", [1], "elsewhere.pdf"),
        (None, [1], "report.pdf"),
    ],
)
def test_a_bad_item_does_not_refuse_the_set(
    tmp_path: Path, benchmark: str, answer: object, pages: list[object], document: str
) -> None:
    good = _item(benchmark, "q", "x", [2], "report.pdf", "Str") | {"uid": "good"}
    found = _read(tmp_path, benchmark, _item(benchmark, "q", answer, pages, document, "Str"), good)
    assert isinstance(found, list), found
    assert [question.gold_pages for question in found] == [("aa/00002",)]


# The other forms name one page at a time.
@pytest.mark.parametrize("benchmark", sorted(READERS.keys() - {"docscope", "madqa", "vidore"}))
@pytest.mark.parametrize("pages", [["2", "3"], [2.0, 3.0]])
def test_pages_as_text_or_floats_are_pages(tmp_path: Path, benchmark: str, pages: list[object]) -> None:
    found = _read(tmp_path, benchmark, _item(benchmark, "q", "x", pages, "report.pdf", "Str"))
    assert isinstance(found, list), found
    assert [question.gold_pages for question in found] == [("aa/00002", "aa/00003")]


@pytest.mark.parametrize("name", ["2024/report.pdf", "2024/REPORT.pdf"])
def test_gold_of_one_name_in_two_folders_is_the_named_one(tmp_path: Path, name: str) -> None:
    documents = (
        Document("aa", "report.pdf", "file:///in/2023/report.pdf"),
        Document("bb", "report.pdf", "file:///in/2024/report.pdf"),
        Document("cc", "other.pdf"),
    )
    items = [_item("mmlongbench", "q", "x", [1], document, "Str") for document in (name, "report.pdf", "other.pdf")]
    found = _read(tmp_path, "mmlongbench", *items, documents=documents)
    assert isinstance(found, list), found
    assert [question.gold_pages for question in found] == [("bb/00001",), ("cc/00001",)]


def test_an_answer_whose_gold_was_dropped_never_counts_as_supported(tmp_path: Path) -> None:
    """Page 0, which three released items name, is no page: what an answer needs is not known."""
    items = [_item("mmlongbench", "q", "4", pages, "report.pdf", "Int") for pages in ("[0]", "[0, 2]", "[2]")]
    found = _read(tmp_path, "mmlongbench", *items, documents=(Document("aaaa", "report.pdf"),))
    assert isinstance(found, list), found
    read = EvidenceEntry(1, "aaaa/00002", "report.pdf", 2, "there are 4")
    rows = [score_episode(replace(episode("4", question=question), evidence=(read,))) for question in found]
    assert [row.right for row in rows] == [True, True, True]
    assert [row.supported for row in rows] == [False, False, True]


def test_mmlongbench_accuracy_is_the_mean_score() -> None:
    asked = replace(QUESTION, benchmark="mmlongbench", answers=("abcde",), gold_facts=())
    rows = tuple(score_episode(episode(answer, question=asked)) for answer in ("abcde", "abcxy", "vwxyz"))
    result = BenchmarkResult("mmlongbench", "", "p", "c", "visor", "tag", 0, 0.0, "v", 8.0, rows)
    assert result.metrics()["accuracy"] == pytest.approx(1.6 / 3)
