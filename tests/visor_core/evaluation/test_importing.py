"""What an import decides: which questions a corpus keeps, and how documents are dealt to the splits."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visor_core.errors import ConfigError, DataError
from visor_core.evaluation.importing import (
    NO_DOCUMENT,
    SPLIT_APART,
    SPLITS,
    digest_of_source,
    documents_of,
    merged,
    parse_shares,
    split_by_document,
)
from visor_core.questions import Question

SHARES = (0.8, 0.1, 0.1)


def _ask(name: str, *documents: str, benchmark: str = "own") -> Question:
    return Question(
        name, f"{name}?", ("x",), benchmark, gold_pages=tuple(f"{document}/00001" for document in documents)
    )


def test_an_import_replaces_its_own_benchmark_and_nothing_else() -> None:
    before = [_ask("a", "d1", benchmark="other"), _ask("b", "d1"), _ask("c", "d1")]
    found = [_ask("b", "d2"), _ask("e", "d2")]
    assert merged(before, found) == [before[0], *found]
    assert merged(merged(before, found), found) == merged(before, found)
    with pytest.raises(DataError, match="question a is already one of the corpus, of other"):
        merged(before, [_ask("a", "d2")])


def test_shares_are_three_numbers_that_add_up_to_one() -> None:
    assert parse_shares("0.8,0.1,0.1") == SHARES
    for wrong in ("0.8", "a,b,c", "0.8,0.1,0.2", "2,-1,0"):
        with pytest.raises(ConfigError, match="--shares"):
            parse_shares(wrong)


@given(
    st.lists(st.lists(st.integers(0, 12).map("d{}".format), max_size=3, unique=True), min_size=1, max_size=25),
    st.integers(0, 3),
)
def test_no_document_is_in_two_splits_and_no_question_is_lost(documents: list[list[str]], seed: int) -> None:
    asked = [_ask(f"q{i}", *names) for i, names in enumerate(documents)]
    every = [f"d{i}" for i in range(15)]
    dealt = split_by_document(asked, SHARES, seed, every=every)
    placed = [name for split in SPLITS for name in dealt.documents[split]]
    assert sorted(placed) == sorted(every)  # each once
    assert {q.question_id for q in dealt.questions} | {item.item for item in dealt.left_out} == {
        q.question_id for q in asked
    }
    for question in dealt.questions:
        assert set(documents_of(question)) <= set(dealt.documents[question.split])
    assert all(item.reason == NO_DOCUMENT for item in dealt.left_out)
    again = split_by_document(list(reversed(asked)), SHARES, seed, every=reversed(every))
    assert again.documents == dealt.documents
    # What comes later changes the split of nothing that was dealt.
    held = {name: split for split, names in dealt.documents.items() for name in names}
    more = [*asked, _ask("new", "d1", "d2"), _ask("far", "d99")]
    later = split_by_document(more, SHARES, seed, every=[*every, "d99"], held=held)
    assert all(set(dealt.documents[split]) <= set(later.documents[split]) for split in SPLITS)
    assert [q for q in later.questions if q.question_id in {a.question_id for a in dealt.questions}] == list(
        dealt.questions
    )
    apart = [item.item for item in later.left_out if item.reason == SPLIT_APART]
    assert apart == ([] if held["d1"] == held["d2"] else ["new"])


def test_the_shares_are_of_the_questions() -> None:
    asked = [_ask(f"q{i}", f"d{i}") for i in range(100)]
    counts = [len([q for q in split_by_document(asked, SHARES).questions if q.split == split]) for split in SPLITS]
    assert counts == [80, 10, 10]
    none = split_by_document(asked, (0.5, 0.5, 0.0), every=[f"e{i}" for i in range(50)])
    assert none.documents["test"] == ()


def test_the_source_is_known_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "q.json").write_text("[]", encoding="utf-8")
    file, folder = digest_of_source(tmp_path / "a" / "q.json"), digest_of_source(tmp_path / "a")
    assert (file, len(folder)) == ("4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945", 64)
    (tmp_path / "a" / "q.json").write_text("[1]", encoding="utf-8")
    assert digest_of_source(tmp_path / "a") != folder
    with pytest.raises(DataError, match="no benchmark file"):
        digest_of_source(tmp_path / "none")
