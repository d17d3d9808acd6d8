"""`visor nano` writes a seeded world that ingests like any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.studies import Study
from tests.pipelines.conftest import Visor
from visor_core.questions import read_questions

SMALL = ("--questions", "5", "--set", "nano.companies=4", "--set", "nano.topics=6")


def test_the_same_seed_writes_the_same_bytes(visor: Visor, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert visor("nano", "--seed", "7", "--output", str(tmp_path / name), *SMALL).code == 0
    first = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in (tmp_path / "a").rglob("*.pdf")}
    second = {p.relative_to(tmp_path / "b"): p.read_bytes() for p in (tmp_path / "b").rglob("*.pdf")}
    assert len(first) == 4
    assert first == second


def test_questions_come_with_their_pages(visor: Visor, tmp_path: Path) -> None:
    outcome = visor("nano", "--corpora", "2", *SMALL)
    assert outcome.code == 0
    assert "8 documents with 56 pages and 5 questions" in outcome.out
    questions = read_questions(tmp_path / "home" / "nano" / "seed-0" / "questions.parquet")
    assert len(questions) == 5
    assert all(question.gold_pages and question.gold_facts for question in questions)


def test_the_rich_tier_is_a_setting(visor: Visor, tmp_path: Path) -> None:
    outcome = visor("nano", *SMALL, "--set", "nano.tier=rich", "--questions", "40")
    assert outcome.code == 0
    questions = read_questions(tmp_path / "home" / "nano" / "rich-seed-0" / "questions.parquet")
    assert {question.hops for question in questions} == {1, 2, 3}
    assert not all(question.answerable for question in questions)


def test_impossible_worlds_are_refused(visor: Visor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert visor("nano", "--output", str(tmp_path / "file")).code == 2
    too_many = visor("nano", "--set", "nano.companies=99")
    assert too_many.code == 2
    assert "nano.companies" in too_many.err


def test_the_options_of_a_study_say_what_is_measured(visor: Visor, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[object, ...]] = []

    def table(study: Study, kind: str) -> str:
        found.append((kind, tuple(study.seeds), study.split, study.choice.resolve().sft.steps))
        return "the table"

    monkeypatch.setattr(Study, "table", table)
    for options in (
        ("--rivals", "--seeds", "0"),
        ("--seeds", "4, 1", "--final"),
        ("--set", "sft.steps=7"),
        ("--long",),
    ):
        outcome = visor("nano", "study", *options)
        assert (outcome.code, outcome.out.splitlines()[0]) == (0, "the table")
    assert found == [
        ("rivals", (0,), "development", 45),
        ("study", (4, 1), "test", 45),
        ("study", (0, 1, 2), "development", 7),
        ("long", (0,), "development", 45),
    ]


@pytest.mark.parametrize("seeds", ["one", "0,0", "-1", "0,,1"])
def test_seeds_are_different_numbers(visor: Visor, seeds: str) -> None:
    outcome = visor("nano", "study", "--seeds", seeds)
    assert outcome.code == 2
    assert "--seeds" in outcome.err
