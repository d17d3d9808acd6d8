"""Question records survive Parquet, and their version depends on content only."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visor_core.errors import DataError
from visor_core.geometry import Box
from visor_core.questions import Fact, Question, questions_version, read_questions, to_frame, write_questions

BOX = Box(0.1, 0.2, 0.3, 0.4)
FULL = Question(
    question_id="q1",
    question='acme "staff" <answer>q3</answer>?',
    answers=("47", "forty-seven"),
    benchmark="nano",
    split="development",
    partition="corpus-0",
    answer_format="Int",
    gold_pages=("aa/00001", "bb/00002"),
    gold_boxes=(BOX,),
    gold_facts=(Fact("acme staff", "q3", "47", "aa/00001", BOX),),
    hops=2,
    evidence_sources=("Chart",),
    answerable=False,
    metadata={"filename": "a.pdf", "ü": "é"},
)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "questions.parquet"
    questions = [FULL, Question("q2", "plain?", ("x",))]
    write_questions(path, questions)
    assert read_questions(path) == questions
    assert not list(path.parent.glob("*.partial"))


@given(st.lists(st.tuples(st.text(min_size=1), st.text(), st.lists(st.text(), max_size=3)), max_size=4))
def test_any_text_survives(rows: list[tuple[str, str, list[str]]]) -> None:
    questions = [Question(i, q, tuple(a), metadata={"k": q}) for i, q, a in rows]
    frame = to_frame(questions)
    assert frame["question"].to_list() == [q.question for q in questions]
    assert [tuple(a) for a in frame["answers"].to_list()] == [q.answers for q in questions]


def test_missing_file_and_missing_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="materialize the asset `questions`"):
        read_questions(tmp_path / "none.parquet")
    path = tmp_path / "questions.parquet"
    to_frame([FULL]).drop("hops").write_parquet(path)
    with pytest.raises(DataError, match="hops"):
        read_questions(path)
    path.write_text("no Parquet", encoding="utf-8")
    with pytest.raises(DataError, match="no Parquet file of questions"):
        read_questions(path)


def test_an_empty_set_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    write_questions(path, [])
    assert read_questions(path) == []
    assert pl.read_parquet(path).columns == to_frame([FULL]).columns


def test_version_ignores_order_and_sees_every_field() -> None:
    other = Question("q2", "plain?", ("x",))
    assert questions_version([FULL, other]) == questions_version([other, FULL])
    assert questions_version([other]) != questions_version([Question("q2", "plain?", ("y",))])
    assert len(questions_version([])) == 16
