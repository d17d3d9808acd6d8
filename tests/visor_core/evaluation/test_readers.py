"""Readers of the other published forms and of a user's own questions, on small files of each form."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.visor_core.evaluation.test_benchmarks import Document
from visor_core.errors import DataError
from visor_core.evaluation.benchmarks import READERS, format_of
from visor_core.evaluation.benchmarks.docscope import REGIONS
from visor_core.evaluation.benchmarks.mmlongbench import EDITIONS, edition_of
from visor_core.evaluation.benchmarks.own import NOT_KNOWN
from visor_core.evaluation.benchmarks.resolve import (
    INCOMPLETE,
    NO_LABELS,
    NO_SUCH_PAGE,
    NOT_IN_CORPUS,
    NOT_JSON,
    WRONG_FORM,
    PageResolver,
)
from visor_core.evaluation.benchmarks.vidore import NO_PAGE
from visor_core.geometry import Box
from visor_core.questions import Question
from visor_core.scoring.answers import NO_RULE, PAGES_ONLY, answer_score, rule_of

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
PAGES = PageResolver(
    [
        Document("aa", "report.pdf", num_pages=84),
        Document("bb", "4055915.pdf", num_pages=84),
        Document("cc", "urn1.pdf"),
    ]
)


def _write(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


LONGDOCURL = {
    "question_id": "free_1",
    "doc_no": "4055915",
    "question": "How many?",
    "answer": 5,
    "evidence_pages": [54],
    "evidence_sources": ["Table"],
    "answer_format": "Integer",
    "task_tag": "Reasoning",
    "question_type": "calculate",
}
MADQA = {
    "id": "dev/0",
    "question": "Which rules?",
    "answer_variants": [["spell out", "use numbers"], ["words"]],
    "evidence": [{"document": "report.pdf", "page": 7}, {"document": "urn1.pdf", "page": 2}],
    "document_category": "Guide",
    "domain": "Reference",
}
DOCSCOPE = {
    "id": "urn1::q1",
    "split": "test",
    "pdf": {"doc_id_str": "urn1"},
    "question": "Which class?",
    "answer": {"answer_text": "11 - 30", "is_answerable": True},
    "evidences": [
        {"local_id": "e1", "page": 5, "bbox": [144, 72, 288, 216], "element_type": "text"},
        {"local_id": "e2", "page": 6, "bbox": [9, 9, 3, 3], "element_type": "table"},
    ],
    "facts": [],
    "extract_class": "class2",
}


def test_longdocurl(tmp_path: Path) -> None:
    items = [LONGDOCURL, {**LONGDOCURL, "question_id": "x", "evidence_pages": [85]}]
    found = READERS["longdocurl"](_write(tmp_path / "q.json", items), PAGES)
    (question,) = found.questions
    assert (question.gold_pages, question.answer_format, question.answers) == (("bb/00054",), "Int", ("5",))
    assert (question.kind, question.evidence_sources) == ("Reasoning", ("Table",))
    assert rule_of(question) == "LongDocURL"
    assert [answer_score(question, reply) for reply in ("5 kg", "5.0", "")] == [1.0, 0.0, 0.0]
    assert [(item.item, item.reason) for item in found.left_out] == [("longdocurl-x", NO_SUCH_PAGE)]


def test_madqa_over_documents_and_its_hidden_labels(tmp_path: Path) -> None:
    hidden = {**MADQA, "id": "test/0", "answer_variants": [], "evidence": []}
    path = tmp_path / "dev.parquet"
    pl.DataFrame([MADQA, hidden]).write_parquet(path)
    found = READERS["madqa"](path, PAGES)
    (question,) = found.questions
    assert question.gold_pages == ("aa/00007", "cc/00002")
    assert question.answers == ("['spell out', 'use numbers']", "words")
    assert (question.kind, question.document_type, question.answer_format) == ("cross-document", "Guide", "List")
    replies = ("['use numbers', 'spell out']", "Word", "['use numbers']", "flamingo")
    assert [answer_score(question, reply) for reply in replies] == [1.0, 0.8, 0.5, 0.0]
    assert [(item.item, item.reason) for item in found.left_out] == [("madqa-test/0", NO_LABELS)]


def test_docscope_boxes_are_points_of_their_page(tmp_path: Path) -> None:
    refused = {
        **DOCSCOPE,
        "id": "q2",
        "answer": {"answer_text": "Unanswerable", "is_answerable": False},
        "evidences": [],
    }
    found = READERS["docscope"](_write(tmp_path / "benchmark.json", [DOCSCOPE, refused]), PAGES)
    question, other = found.questions
    assert json.loads(question.metadata[REGIONS]) == [["cc/00005", 72.0, 36.0, 144.0, 108.0]]
    assert (question.split, question.kind, question.evidence_sources) == ("test", "class2", ("text", "table"))
    assert question.gold_pages == ("cc/00005", "cc/00006")
    assert not other.answerable
    assert rule_of(question) == NO_RULE


def _vidore(folder: Path, queries: list[dict[str, object]]) -> Path:
    tables: dict[str, list[dict[str, object]]] = {
        "corpus": [{"corpus_id": i, "doc_id": "urn1", "page_number_in_doc": i} for i in range(3)],
        "qrels": [
            {"query_id": 1, "corpus_id": 0, "score": 2},
            {"query_id": 1, "corpus_id": 2, "score": 1},
            {"query_id": 2, "corpus_id": 1, "score": 0},
            {"query_id": 3, "corpus_id": 77, "score": 1},
        ],
        "documents_metadata": [{"doc_id": "urn1", "file_name": "urn1.pdf"}],
    }
    for name, rows in tables.items():
        (folder / name).mkdir(parents=True)
        pl.DataFrame(rows).write_parquet(folder / name / "test-00000-of-00001.parquet")
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    return folder


def test_judged_pages_measure_retrieval_only(tmp_path: Path) -> None:
    queries: list[dict[str, object]] = [
        {"query_id": 1, "query": "who?", "language": "english", "query_types": ["multi-hop"]},
        {"query_id": 2, "query": "where?"},
        {"query_id": 3, "query": "when?"},
    ]
    found = READERS["vidore"](_vidore(tmp_path / "set", queries), PAGES)
    (question,) = found.questions
    assert question.gold_pages == ("cc/00001", "cc/00003")  # its pages count from 0
    assert (question.answers, rule_of(question), answer_score(question, "anyone")) == ((), PAGES_ONLY, None)
    assert [(item.item, item.reason) for item in found.left_out] == [("vidore-2", NO_PAGE), ("vidore-3", NO_SUCH_PAGE)]
    with pytest.raises(DataError, match="holds no table corpus"):
        READERS["vidore"](tmp_path, PAGES)


def test_a_users_own_questions(tmp_path: Path) -> None:
    lines = [
        {"question": "How many?", "answer": 47, "answer_format": "Int", "document": "report", "pages": [3]},
        {"id": "b", "question": "Where?", "evidence": [{"document": "urn1.pdf", "page": 2, "box": [0, 0.5, 1, 1]}]},
        {"id": "c", "question": "Why?", "answerable": False, "kind": "refusal"},
        {"id": "d", "question": "Nothing known?"},
        {"id": "e", "question": "A slip?", "answr": "1"},
        {"id": "f", "question": "Elsewhere?", "answer": "x", "document": "gone.pdf", "pages": [1]},
        {"id": "g", "question": "A box?", "evidence": [{"document": "urn1.pdf", "page": 2, "box": [0, 0, 7, 7]}]},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\nno JSON\n", encoding="utf-8")
    assert format_of(path) == "own"
    found = READERS["own"](path, PAGES)
    one, two, three = found.questions
    assert (one.answers, one.answer_format, one.gold_pages) == (("47",), "Int", ("aa/00003",))
    assert answer_score(one, "47") == 1.0
    assert (two.gold_boxes, rule_of(two)) == ((Box(0, 0.5, 1, 1),), PAGES_ONLY)
    assert (three.answerable, three.kind, three.answer_format) == (False, "refusal", "None")
    assert [(item.item, item.reason) for item in found.left_out[:4]] == [
        ("line 4 (own-d)", INCOMPLETE), ("line 5 (own-e)", NOT_KNOWN), ("line 6 (own-f)", NOT_IN_CORPUS),
        ("line 7 (own-g)", WRONG_FORM),
    ]  # fmt: skip
    (last,) = found.left_out[4:]
    assert (last.item, last.reason, last.detail) == ("line 8", NOT_JSON, "Expecting value at column 1")
    again = path.with_name("turned.jsonl")
    again.write_text("\n".join(map(json.dumps, reversed(lines))), encoding="utf-8")
    assert {q.question_id for q in READERS["own"](again, PAGES).questions} == {one.question_id, "own-b", "own-c"}


def _mm(answer: str) -> dict[str, str]:
    return {
        "doc_id": "report.pdf", "doc_type": "Report", "question": "How many?", "answer": answer, "answer_format": "Int",
        "evidence_pages": "[5, 2]", "evidence_sources": "['Chart']",
    }  # fmt: skip


def test_the_editions_of_mmlongbench_are_told_apart_by_their_counts(tmp_path: Path) -> None:
    for edition in EDITIONS:
        answerable = edition.answerable or 800
        items = [_mm("4")] * answerable + [_mm("Not answerable")] * (edition.questions - answerable)
        assert edition_of(items) == edition.name
        assert edition_of(items[1:]) == ""
    hub = [_mm("4")] * 847 + [_mm("Not answerable")] * 244
    pl.DataFrame(hub).write_parquet(tmp_path / "train-00000-of-00001.parquet")
    found = READERS["mmlongbench"](tmp_path / "train-00000-of-00001.parquet", PAGES)
    assert {question.metadata["edition"] for question in found.questions} == {EDITIONS[1].name}
    assert sum(question.answerable for question in found.questions) == 847
    assert {(q.kind, q.document_type) for q in found.questions} == {
        ("cross-page", "Report"),
        ("unanswerable", "Report"),
    }


@pytest.mark.parametrize("form", ["longdocurl", "madqa", "docscope", "mmlongbench"])
def test_a_form_is_known_by_its_fields(tmp_path: Path, form: str) -> None:
    item = {"longdocurl": LONGDOCURL, "madqa": MADQA, "docscope": DOCSCOPE, "mmlongbench": _mm("4")}[form]
    assert format_of(_write(tmp_path / "q.json", [{"junk": 1}, item, item])) == form


def test_a_file_of_no_known_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of no known form: name it by --format"):
        format_of(_write(tmp_path / "q.json", [{"text": "?"}]))


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "vrag-demo").is_dir(), reason="../shared/data is not here")
def test_real_vrag_file() -> None:
    names = ["PH_2016.06.08_Economy-Final.pdf", "2012-02-20fy11roadshow-120221022442-phpapp02_95.pdf"]
    path = SHARED / "vrag-demo" / "rag_dataset.json"
    assert format_of(path) == "vrag"
    found = READERS["vrag"](path, PageResolver([Document(str(i), name) for i, name in enumerate(names)]))
    first, _, third, _ = found.questions
    assert (first.question_id, first.answer_format, first.evidence_sources) == ("vrag-0", "Str", ("Chart",))
    assert (first.document_type, third.kind) == ("Research report / Introduction", "Single-Hop_Single-Span")
    assert third.answer_format == ""


@pytest.mark.parametrize("form", sorted(READERS))
def test_a_corrupt_line_never_stops_the_rest(tmp_path: Path, form: str) -> None:
    """Every reader goes on after lines of every wrong type: each is left out, with a reason and in one line."""
    if form == "vidore":
        queries: list[dict[str, object]] = [{"query_id": 1, "query": "who?"}]
        path = _vidore(tmp_path / "set", queries)
        file = path / "queries.jsonl"
    else:
        good: dict[str, dict[str, object]] = {
            "longdocurl": LONGDOCURL, "madqa": MADQA, "docscope": DOCSCOPE, "mmlongbench": {**_mm("4")},
            "own": {"question": "?", "answer": "4"},
            "slidevqa": {"deck_name": "report", "qa_id": 1, "question": "?", "answer": "4", "evidence_pages": [1]},
        }  # fmt: skip
        seek = {"uid": "u", "query": "?", "reference_answer": "4", "meta_info": {"file_name": "report.pdf"}}
        seek["meta_info"] |= {"reference_page": [1]}  # type: ignore[operator]
        path = file = tmp_path / "q.jsonl"
        file.write_text(json.dumps(good.get(form, seek)) + "\n", encoding="utf-8")
    whole = json.loads(file.read_text(encoding="utf-8"))
    broken = [
        {**whole, key: value} for key in whole for value in (None, 7, "[", [None], {"a": [1]}, float("nan"), [[]], True)
    ]
    with file.open("a", encoding="utf-8") as lines:
        lines.write("\n{\n7\n[]\nnull\n" + "\n".join(map(json.dumps, broken)))
    found = READERS[form](path, PAGES)
    assert isinstance(found.questions[0], Question)
    assert len(found.left_out) >= 4
    assert all(item.reason and item.detail and "\n" not in item.detail for item in found.left_out)
