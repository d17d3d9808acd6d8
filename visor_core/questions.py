"""The question record shared by benchmarks, the nano world, the agent and the scores, and its Parquet form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from visor_core.errors import ConfigError, DataError
from visor_core.files import whole_file
from visor_core.geometry import Box

if TYPE_CHECKING:
    from visor_core.config import Profile


@dataclass(frozen=True, slots=True)
class Fact:
    """One atomic fact that stands on a page: a subject's field has a value, inside a box.

    `needs_crop` is whether it can be read in a crop of that box only; false where it is legible on the whole page.
    """

    subject: str
    field: str
    value: str
    page_id: str
    box: Box
    needs_crop: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a corpus, with whatever gold is known.

    `partition` restricts the search to one part of the index (a nano sub-corpus; a single document's pages);
    empty means the whole index. `gold_pages` are page ids; `hops` is the number of distinct gold pages needed.
    `gold_boxes` are the regions that have to be cropped. `answer_format` is one of `ANSWER_FORMATS`, `Exact`, or empty
    where it is not known. Without `answers` a question measures the search for its pages only.
    """

    question_id: str
    question: str
    answers: tuple[str, ...]
    benchmark: str = ""
    split: str = ""
    partition: str = ""
    answer_format: str = ""
    gold_pages: tuple[str, ...] = ()
    gold_boxes: tuple[Box, ...] = ()
    gold_facts: tuple[Fact, ...] = ()
    hops: int = 1
    evidence_sources: tuple[str, ...] = ()
    answerable: bool = True
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What kind of question its benchmark calls it (`Multi-Hop`, `cross-page`); empty where it does not say."""
        return self.metadata.get(KIND, "")

    @property
    def document_type(self) -> str:
        """What kind of document its benchmark calls it to be about; empty where it does not say."""
        return self.metadata.get(DOCUMENT_TYPE, "")


ANSWER_FORMATS = ("Int", "Float", "Str", "List", "None")
"""The formats of MMLongBench-Doc, which others are written in; `None` is a question without an answer."""
KIND, DOCUMENT_TYPE, EDITION = "kind", "document_type", "edition"
"""Metadata keys of a question: its kind, that of its document, and the edition of the benchmark file it is from."""
GOLD_DROPPED = "gold_dropped"
"""Metadata key of a question some of whose gold pages do not exist: what was dropped."""


def gold_is_complete(question: Question) -> bool:
    """Whether all pages that an answer needs are known, so that its evidence can be judged.

    Not where some were dropped, nor for a question that can be answered and names none.
    """
    known = bool(question.gold_pages or question.gold_facts) or not question.answerable
    return known and GOLD_DROPPED not in question.metadata


def to_frame(questions: Iterable[Question]) -> pl.DataFrame:
    """One row a question; boxes, facts and metadata as JSON text."""
    rows = [
        {
            "question_id": q.question_id,
            "benchmark": q.benchmark,
            "split": q.split,
            "partition": q.partition,
            "question": q.question,
            "answers": list(q.answers),
            "answer_format": q.answer_format,
            "gold_pages": list(q.gold_pages),
            "gold_boxes": json.dumps([b.as_tuple() for b in q.gold_boxes]),
            "gold_facts": json.dumps(
                [[f.subject, f.field, f.value, f.page_id, f.box.as_tuple(), f.needs_crop] for f in q.gold_facts]
            ),
            "hops": q.hops,
            "evidence_sources": list(q.evidence_sources),
            "answerable": q.answerable,
            "metadata": json.dumps(q.metadata, sort_keys=True),
        }
        for q in questions
    ]
    strings = pl.List(pl.String)
    return pl.DataFrame(
        rows,
        schema={
            "question_id": pl.String,
            "benchmark": pl.String,
            "split": pl.String,
            "partition": pl.String,
            "question": pl.String,
            "answers": strings,
            "answer_format": pl.String,
            "gold_pages": strings,
            "gold_boxes": pl.String,
            "gold_facts": pl.String,
            "hops": pl.Int64,
            "evidence_sources": strings,
            "answerable": pl.Boolean,
            "metadata": pl.String,
        },
    )


def write_questions(path: Path, questions: Iterable[Question]) -> None:
    """Write questions to Parquet, by an atomic rename so that a kill leaves no half file."""
    with whole_file(path) as partial:
        to_frame(questions).write_parquet(partial)


def read_questions(path: Path) -> list[Question]:
    """Read questions from Parquet.

    Raises:
        DataError: if the file is missing or damaged, lacks a column or holds facts of another shape.
    """
    if not path.is_file():
        raise DataError(f"no questions at {path}: materialize the asset `questions` first")
    try:
        frame = pl.read_parquet(path, glob=False)
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is no Parquet file of questions ({reason}): write it with write_questions") from error
    missing = set(to_frame([]).columns) - set(frame.columns)
    if missing:
        raise DataError(f"{path} lacks the columns {sorted(missing)}: rebuild it with the asset `questions`")
    return [
        Question(
            question_id=row["question_id"],
            question=row["question"],
            answers=tuple(row["answers"]),
            benchmark=row["benchmark"],
            split=row["split"],
            partition=row["partition"],
            answer_format=row["answer_format"],
            gold_pages=tuple(row["gold_pages"]),
            gold_boxes=tuple(Box(*b) for b in json.loads(row["gold_boxes"])),
            gold_facts=_facts(row["gold_facts"], path),
            hops=row["hops"],
            evidence_sources=tuple(row["evidence_sources"]),
            answerable=row["answerable"],
            metadata=json.loads(row["metadata"]),
        )
        for row in frame.iter_rows(named=True)
    ]


def _facts(text: str, path: Path) -> tuple[Fact, ...]:
    try:
        return tuple(Fact(s, f, v, p, Box(*b), crop) for s, f, v, p, b, crop in json.loads(text))
    except ValueError as error:
        raise DataError(
            f"{path} has gold facts of another shape ({error}): rebuild it with the asset `questions`"
        ) from error


def questions_version(questions: Iterable[Question]) -> str:
    """Content hash of a question set (16 hex digits): the data version of the asset `questions`."""
    digest = hashlib.sha256()
    for row in to_frame(questions).sort("question_id").iter_rows(named=True):
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def teacher_questions(asked: Sequence[Question], profile: Profile) -> list[Question]:
    """The training questions the teacher plays."""
    return list(asked[: profile.teacher.questions])


def grpo_questions(asked: Sequence[Question], profile: Profile) -> list[Question]:
    """The training questions GRPO draws from.

    Raises:
        ConfigError: if none is left.
    """
    unplayed = asked[len(teacher_questions(asked, profile)) :]
    given = unplayed if profile.grpo.questions == "unplayed" and unplayed else asked
    found = [question for question in given if question.hops >= profile.grpo.min_hops]
    if not found:
        raise ConfigError(
            f"none of {len(given)} training questions is over {profile.grpo.min_hops} pages: lower grpo.min_hops"
        )
    return found
