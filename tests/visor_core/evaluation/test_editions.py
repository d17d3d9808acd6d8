"""Several editions of one benchmark: a question asked once, scored by what each of them says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.visor_core.evaluation.episodes import episode
from tests.visor_core.evaluation.results_by_hand import result
from tests.visor_core.evaluation.test_benchmarks import Document
from visor_core.errors import DataError
from visor_core.evaluation.benchmarks import mmlongbench
from visor_core.evaluation.benchmarks.mmlongbench import EDITIONS
from visor_core.evaluation.benchmarks.resolve import BenchmarkQuestions, PageResolver
from visor_core.evaluation.editions import by_extraction, by_rule, count_by_edition, gold_of, together
from visor_core.evaluation.results import BenchmarkResult, read_result, score_episode
from visor_core.evaluation.verdicts import OFFICIAL, ProtocolScores, Verdict, protocols_in_words
from visor_core.questions import Question

PAGES = PageResolver([Document("aa", "report.pdf", num_pages=9), Document("bb", "slides.pdf", num_pages=9)])


def _item(question: str, answer: str, doc: str = "report.pdf", form: str = "Int") -> dict[str, str]:
    return {
        "doc_id": doc, "doc_type": "Report", "question": question, "answer": answer, "answer_format": form,
        "evidence_pages": "[1]" if answer != "Not answerable" else "[]", "evidence_sources": "[]",
    }  # fmt: skip


def _read(folder: Path, name: str, items: list[dict[str, str]]) -> tuple[str, BenchmarkQuestions]:
    path = folder / name
    if path.suffix == ".parquet":
        pl.DataFrame(items).write_parquet(path)
    else:
        path.write_text(json.dumps(items), encoding="utf-8")
    return name, mmlongbench.read(path, PAGES)


def test_a_question_of_two_files_is_asked_once_and_keeps_what_each_says(tmp_path: Path) -> None:
    first = [_item("How many?", "4"), _item("How many?", "7"), _item("Who?", "Not answerable", form="None")]
    second = [_item("Who?", "Ada", form="Str"), _item("HOW  many?", "5"), _item("How many?", "4", "slides.pdf")]
    gone = _item("Gone?", "1", "gone.pdf")
    found = together([_read(tmp_path, "a.json", [*first, gone]), _read(tmp_path, "b.parquet", second)])
    assert [(q.question_id, q.answers[0]) for q in found.questions] == [
        ("mmlongbench-0000", "4"), ("mmlongbench-0001", "7"), ("mmlongbench-0002", "Not answerable"),
        ("mmlongbench-0002-2", "4"),
    ]  # fmt: skip
    said = [[(gold.edition, gold.answers[0], gold.answerable) for gold in gold_of(q)] for q in found.questions]
    assert said == [
        [("a.json", "4", True), ("b.parquet", "5", True)],
        [("a.json", "7", True)],  # asked twice in one file: the first of each belong together
        [("a.json", "Not answerable", False), ("b.parquet", "Ada", True)],
        [("b.parquet", "4", True)],
    ]
    assert [item.item for item in found.left_out] == ["a.json: mmlongbench-0003"]
    assert count_by_edition(found.questions) == {
        "a.json": {"questions": 3, "answerable": 2},
        "b.parquet": {"questions": 3, "answerable": 3},
    }


def test_one_edition_given_twice_is_refused(tmp_path: Path) -> None:
    whole = [_item(f"q{n}", "4") for n in range(859)] + [_item(f"n{n}", "Not answerable") for n in range(223)]
    files = [_read(tmp_path, name, whole) for name in ("samples.json", "again.json")]
    with pytest.raises(DataError, match="two of the files are one edition"):
        together(files)


def _answered(questions: tuple[Question, ...], answers: dict[str, str]) -> BenchmarkResult:
    """A result of these questions with the answers of a policy, by the question's text; all others are wrong."""
    rows = tuple(
        score_episode(replace(episode(answers.get(q.question, "0"), question=q), trajectory_id=q.question_id))
        for q in questions
    )
    return replace(result({"x": "47"}), benchmark="mmlongbench", episodes=rows)


def test_both_published_denominators_of_one_evaluation(tmp_path: Path) -> None:
    """859 of 1,082 and 847 of 1,091: the whole files, one set of answers, and the figures worked by hand."""
    answered = [_item(f"q{n}", "4") for n in range(859)]
    refused = [_item(f"n{n}", "Not answerable", form="None") for n in range(223)]
    # On the hub 30 of the questions cannot be answered, 18 others are new, and of the refused ones 9 are gone.
    hub = [*answered[:829], *[_item(f"h{n}", "4") for n in range(18)]]
    hub += [{**item, "answer": "Not answerable", "answer_format": "None"} for item in answered[829:]] + refused[9:]
    assert (len(hub), sum(item["answer"] != "Not answerable" for item in hub)) == (1091, 847)
    files = [_read(tmp_path, "samples.json", answered + refused), _read(tmp_path, "train.parquet", hub)]
    found = together(files)
    assert len(found.questions) == 1100
    one, two = EDITIONS[0].name, EDITIONS[1].name
    # Right: 400 of both, 10 of the repository alone, 9 of the hub alone; refused: 20 of the repository's own.
    said = {f"q{n}": "4" for n in [*range(400), *range(829, 839)]} | {f"h{n}": "4" for n in range(9)}
    said |= {f"q{n}": "Not answerable" for n in range(839, 859)}
    got = _answered(found.questions, said)
    first, second = by_rule(got)
    assert (first.edition, first.accuracy.count, first.of_answerable.count) == (one, 1082, 859)
    assert first.accuracy.estimate == pytest.approx(410 / 1082)
    assert first.of_answerable.estimate == pytest.approx(410 / 859)
    precision, recall = 410 / (1082 - 20), 410 / 859
    assert first.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert (second.edition, second.accuracy.count, second.of_answerable.count) == (two, 1091, 847)
    assert second.accuracy.estimate == pytest.approx((409 + 20) / 1091)  # its refusals are right there
    assert second.of_answerable.estimate == pytest.approx(409 / 847)
    precision, recall = 409 / (1091 - 20), 409 / 847
    assert second.f1 == pytest.approx(2 * precision * recall / (precision + recall))

    extracted = tuple(Verdict(row.question_id, 0.0, answer="4") for row in got.episodes)
    official = ProtocolScores(OFFICIAL, "m", "e", "", "prompt", "a", extracted)
    over = by_extraction(got, official)
    assert [(f.edition, f.of_answerable.estimate, f.of_answerable.count) for f in over] == [
        (one, 1.0, 859), (two, 1.0, 847),
    ]  # fmt: skip
    judged = replace(got, protocols=(official,))
    assert [line.split(",")[0] for line in protocols_in_words(judged) if line.startswith("edition")] == [
        "edition repository", "edition hub since September 2025",
    ] * 2  # fmt: skip
    figures = judged.metrics()
    assert figures["rule_accuracy_of_answerable_repository_1_082_questions"] == pytest.approx(410 / 859)
    assert figures["official_f1_hub_since_september_2025_1_091_questions"] == pytest.approx(2 * 847 / (1091 + 847))
    judged.save(tmp_path / "result.json")
    assert by_rule(read_result(tmp_path / "result.json")) == by_rule(judged)


def test_one_file_has_no_editions(tmp_path: Path) -> None:
    _, found = _read(tmp_path, "samples.json", [_item("q", "4")])
    got = _answered(found.questions, {"q": "4"})
    assert (by_rule(got), count_by_edition(found.questions)) == ([], {})
    assert got.episodes[0].editions == ()
