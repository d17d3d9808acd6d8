"""Benchmark readers on small files of the released forms, and on the real ones where they are present."""

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks import READERS, format_of, mmlongbench, nano, slidevqa, vidoseek
from visor_core.evaluation.benchmarks.resolve import (
    AMBIGUOUS,
    INCOMPLETE,
    NO_SUCH_PAGE,
    NOT_IN_CORPUS,
    NOT_JSON,
    NOT_PAGES,
    OTHERWISE,
    TWICE,
    WRONG_FORM,
    LeftOut,
    PageResolver,
    contradicting,
    count_reasons,
)
from visor_core.questions import Question, gold_is_complete, write_questions
from visor_core.scoring.answers import never_right

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
    assert found.left_out == (
        LeftOut("mmlongbench-0001", NOT_IN_CORPUS, "its document absent.pdf is not in the corpus"),
    )


def test_mmlongbench_page_zero_and_unanswerable(tmp_path: Path) -> None:
    items = [
        _mm(evidence_pages="[0]"),
        _mm(evidence_pages="[0, 3]"),
        _mm(answer="Not answerable", evidence_pages="[]", answer_format="None"),
    ]
    first, second, third = mmlongbench.read(_write(tmp_path / "q.json", items), PAGES).questions
    assert first.gold_pages == ()
    assert second.gold_pages == ("aa/00003",)
    assert [gold_is_complete(question) for question in (first, second, third)] == [False, False, True]
    assert first.metadata["document_id"] == "aa"
    assert not third.answerable


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "holds int where a JSON list of questions belongs"),
        ([], "holds no question: it is empty"),
        ({}, "it lacks doc_id, question"),
        ([{"doc_id": "report.pdf"}], "mmlongbench-0000: it lacks question"),
        ([7], "item 0: it is int"),
        ([_mm(evidence_pages="__import__('os')")], "is not a list"),
        ([_mm(evidence_pages="[99]"), _mm(doc_id="x.pdf")], f"{NO_SUCH_PAGE} 1, {NOT_IN_CORPUS} 1.*page 99 of report"),
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
    assert [(item.item, item.reason) for item in found.left_out] == [("u2", NOT_IN_CORPUS)]
    bad = {**example, "uid": "u3", "meta_info": {"file_name": "report.pdf", "reference_page": ["eleven"]}}
    found = vidoseek.read(_write(tmp_path / "q.json", {"examples": [example, bad, example, None]}), PAGES)
    assert [item.reason for item in found.left_out] == [NOT_PAGES, TWICE, WRONG_FORM]


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
    assert [(item.item, item.reason) for item in found.left_out] == [("slidevqa-3", NO_SUCH_PAGE)]
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(DataError, match="it lacks deck_name"):
        slidevqa.read(path, pages)
    path.write_text(json.dumps(records[0]) + '\n{"deck_name": \n', encoding="utf-8")
    assert [(item.item, item.reason) for item in slidevqa.read(path, pages).left_out] == [("line 2", NOT_JSON)]


@pytest.mark.parametrize("pages", ["[5, 2]", [5, 2], ["5", "2"], "['5', '2']", [5.0, "2.0"], "5, 2"])
def test_page_numbers_of_every_kind(tmp_path: Path, pages: object) -> None:
    (question,) = mmlongbench.read(_write(tmp_path / "q.json", [_mm(evidence_pages=pages)]), PAGES).questions
    assert question.gold_pages == ("aa/00005", "aa/00002")


@pytest.mark.parametrize("pages", [None, "five", [True], [1.5], [[1]], "[1e999]", {"1": 2}])
def test_pages_that_are_none_leave_out_their_item_only(tmp_path: Path, pages: object) -> None:
    found = mmlongbench.read(_write(tmp_path / "q.json", [_mm(evidence_pages=pages), _mm()]), PAGES)
    assert [question.question_id for question in found.questions] == ["mmlongbench-0001"]
    assert count_reasons(found.left_out) == {NOT_PAGES: 1}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("answer", None, INCOMPLETE), ("answer", float("nan"), INCOMPLETE), ("question", " ", INCOMPLETE),
        ("question", None, INCOMPLETE), ("doc_id", {}, WRONG_FORM),
    ],
)  # fmt: skip
def test_an_unusable_field_leaves_out_its_item_only(tmp_path: Path, field: str, value: object, reason: str) -> None:
    found = mmlongbench.read(_write(tmp_path / "q.json", [_mm(**{field: value}), _mm()]), PAGES)
    assert [question.question_id for question in found.questions] == ["mmlongbench-0001"]
    assert [(item.item, item.reason) for item in found.left_out] == [("mmlongbench-0000", reason)]


CORPUS = [
    Document("aa", "report.pdf", "file:///data/2023/report.pdf"),
    Document("bb", "report.pdf", "file:///data/2024/report.pdf"),
    Document("cc", "U\u0308bersicht.pdf", "file:///data/U%CC%88bersicht.pdf"),
    Document("dd", "plan.PDF", "file:///data/my%20decks/plan.PDF"),
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2024/report.pdf", "bb"),
        ("data/2023/report.pdf", "aa"),
        ("2024/report", "bb"),
        ("Data/2024/Report.PDF", "bb"),
        ("\u00dcbersicht.pdf", "cc"),
        ("u\u0308bersicht", "cc"),
        ("plan.PDF", "dd"),
        ("plan.pdf", "dd"),
        ("plan", "dd"),
        ("elsewhere/plan.pdf", "dd"),
    ],
)
def test_a_document_is_found_by_name_folder_case_and_letters(tmp_path: Path, name: str, expected: str) -> None:
    (question,) = mmlongbench.read(_write(tmp_path / "q.json", [_mm(doc_id=name)]), PageResolver(CORPUS)).questions
    assert question.gold_pages == (f"{expected}/00005", f"{expected}/00002")


@pytest.mark.parametrize("name", ["report.pdf", "report", "2022/report.pdf", "REPORT.PDF"])
def test_a_name_of_two_documents_is_left_out_naming_both(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / "q.json", [_mm(doc_id=name), _mm(doc_id="plan.pdf")])
    found = mmlongbench.read(path, PageResolver(CORPUS))
    assert [question.metadata["document_id"] for question in found.questions] == ["dd"]
    (item,) = found.left_out
    assert item.reason == AMBIGUOUS
    assert item.detail == f"its document {name} may be data/2023/report.pdf or data/2024/report.pdf"


FAULTS = SHARED / "faults" / "questions"
SMALL = [Document("rr", "d05_reversed.pdf", num_pages=2), Document("ii", "d09_incremental.pdf", num_pages=2)]
TWO_INVOICES = [
    Document("xx", "invoice.pdf", "file:///in/2023/invoice.pdf"),
    Document("yy", "invoice.pdf", "file:///in/2024/invoice.pdf"),
    Document("uu", "U\u0308bergro\u0308\u00dfe.pdf"),
]
EXPECTED: dict[str, tuple[int, dict[str, int]] | str] = {
    "q.csv": "is not valid JSON",
    "q_answer_null.json": (1, {INCOMPLETE: 1}),
    "q_bom.json": (2, {}),
    "q_crlf.json": (2, {}),
    "q_doc_case.json": (2, {}),
    "q_doc_with_folder.json": (2, {}),
    "q_doc_without_suffix.json": (2, {}),
    "q_duplicate_names.json": "may be in/2023/invoice.pdf or in/2024/invoice.pdf",
    "q_empty.json": "holds no question: it is empty",
    "q_jsonl.jsonl": (2, {}),
    "q_missing_doc.json": (1, {NOT_IN_CORPUS: 1}),
    "q_missing_field.json": (1, {INCOMPLETE: 1}),
    "q_nan.json": "its answer is nan",
    "q_nfc_name.json": (1, {}),
    "q_nothing.json": "is not valid JSON",
    "q_ok.json": (2, {}),
    "q_page_out_of_range.json": (1, {NO_SUCH_PAGE: 1}),
    "q_pages_floats.json": (2, {}),
    "q_pages_int.json": (2, {}),
    "q_pages_null.json": (1, {NOT_PAGES: 1}),
    "q_pages_strings.json": (2, {}),
    "q_question_empty.json": (1, {INCOMPLETE: 1}),
    "q_question_long_control.json": (2, {}),
    "q_same_twice.json": (3, {}),
    "q_utf16.json": (2, {}),
    "s_bom.jsonl": (1, {}),
    "s_latin1.jsonl": "is not UTF-8 .*iconv",
    "s_nodeck_nopages.jsonl": "elsewhere is not in the corpus",
    "s_ok.jsonl": (1, {}),
    "s_pages_null.jsonl": "null is not a list",
    "s_pages_str.jsonl": (1, {}),
    "s_pages_strings.jsonl": (1, {}),
    "v_list.json": (1, {}),
    "v_ok.json": (1, {}),
    "v_page0.json": "names page 0 of d09_incremental.pdf",
    "v_pagestr.json": (1, {}),
    "v_twice.json": (1, {TWICE: 1}),
}
"""How many questions are read and how many left out by reason, or the one line that says why none is."""


@pytest.mark.shared
@pytest.mark.skipif(not FAULTS.is_dir(), reason="../shared/data is not here")
def test_every_faulty_file_is_read_or_refused_in_one_line() -> None:
    assert {path.name for path in FAULTS.iterdir()} == set(EXPECTED)
    resolver = PageResolver([*SMALL, *TWO_INVOICES])
    for name, expected in EXPECTED.items():
        form = {"q": "mmlongbench", "s": "slidevqa", "v": "vidoseek"}[name[0]]
        with suppress(DataError):  # of what cannot be read the form cannot be told
            assert format_of(FAULTS / name) == form, name
        reader = READERS[form]
        if isinstance(expected, str):
            with pytest.raises(DataError, match=expected) as refusal:
                reader(FAULTS / name, resolver)
            assert "\n" not in str(refusal.value), name
        else:
            found = reader(FAULTS / name, resolver)
            assert (len(found.questions), count_reasons(found.left_out)) == expected, name


def test_what_cannot_be_asked_or_answered_is_left_out(tmp_path: Path) -> None:
    """Each by name, with the reason."""
    fine = {
        "doc_id": "d05_reversed.pdf", "doc_type": "x", "question": "Which word is printed?", "answer": "alpha",
        "evidence_pages": "[1]", "evidence_sources": "[]", "answer_format": "Str",
    }  # fmt: skip
    wrong = {
        "its answer_format Number is none of Int, Float, Str, List, None": {"answer_format": "Number"},
        "its question is 2026, not a text": {"question": 2026},
    }
    path = tmp_path / "samples.json"
    path.write_text(json.dumps([fine, *({**fine, **changed} for changed in wrong.values())]), encoding="utf-8")
    found = mmlongbench.read(path, PageResolver(SMALL))
    assert len(found.questions) == 1
    for item, reason in zip(found.left_out, wrong, strict=True):
        assert reason in item.detail, item
    assert count_reasons(found.left_out) == {WRONG_FORM: 2}

    mine = tmp_path / "mine.jsonl"
    lines = [
        {"question": "How many?", "answer": "twelve", "answer_format": "Int", "document": "d05_reversed", "pages": [1]},
        {"question": "How many?", "answer": 12, "answer_format": "Int", "document": "d05_reversed", "pages": [1]},
        {"id": 3, "question": " how  MANY?", "answer": 13, "document": "d05_reversed", "pages": [2]},
        {"question": "How many?", "answer": 13, "document": "d09_incremental", "pages": [2]},
    ]
    mine.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    read = READERS["own"](mine, PageResolver(SMALL))
    first, third = read.left_out
    assert "its answer 'twelve' is no Int: no answer would be right" in first.detail
    assert first.item.startswith("line 1 (own-")
    assert third.item == "line 3 (own-3)"
    assert "line 2 asks the same of the same document, and expects '12', not '13'" in third.detail
    assert (third.reason, len(read.questions)) == (OTHERWISE, 2)
    repeated = [replace(q, question_id=f"{n}", answers=(f"{n}",)) for q in read.questions for n in range(2)]
    assert contradicting([*read.questions, *repeated]) == ["0", "1", "0", "1"]
    mine.write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"mine.jsonl holds no question: it is empty"):
        format_of(mine)


def test_the_gold_of_some_released_questions_is_never_right() -> None:
    asked = Question("q", "How much?", ("21%",), benchmark="mmlongbench", answer_format="Int")
    assert never_right(asked)
    assert not never_right(replace(asked, answers=("21%", "21")))
    assert not never_right(replace(asked, answer_format="Str"))
    assert not never_right(replace(asked, benchmark="vidoseek"))


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
    assert [q.answers[0] for q in found.questions if never_right(q)] == ["21%", "14:04 CET", "yes"]
    assert found.left_out == ()


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "vidoseek").is_dir(), reason="../shared/data is not here")
def test_real_vidoseek_example() -> None:
    name = "00a76e3a9a36255616e2dc14a6eb5dde598b321f.pdf"
    found = vidoseek.read(SHARED / "vidoseek" / "rag_dataset.example.json", PageResolver([Document("x", name)]))
    assert found.questions[0].gold_pages == ("x/00011",)
