"""One benchmark in several released files: each question asked once, its answer scored by what every file says.

MMLongBench-Doc's file has 859 answerable questions in its repository and 847 on the hub, which is what papers count.
With both files imported together an evaluation gives the figures over each, from one answer a question: by the rules,
and by `official` from the short answer that was extracted. Two items are one question where document and wording are
the same (letters of either width and case, any white space). What is asked and its gold pages are the first file's.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks.resolve import BenchmarkQuestions, LeftOut
from visor_core.evaluation.statistics import Interval, bootstrap_mean
from visor_core.questions import EDITION, Question
from visor_core.scoring.mmlongbench import mmlongbench_f1, mmlongbench_score

if TYPE_CHECKING:
    from visor_core.evaluation.results import BenchmarkResult, EpisodeResult
    from visor_core.evaluation.verdicts import ProtocolScores

EDITIONS = "editions"
"""Metadata key of a question: what each of several editions says of its answer, as JSON."""


@dataclass(frozen=True, slots=True)
class EditionGold:
    """What one edition says of a question: the accepted answers, their format, whether there is an answer at all."""

    edition: str
    answers: tuple[str, ...]
    answer_format: str
    answerable: bool

    def score(self, answer: str) -> float:
        """An answer by MMLongBench-Doc's rules, in [0, 1]; an empty one scores 0."""
        if not answer.strip():
            return 0.0
        return max((mmlongbench_score(gold, answer, self.answer_format) for gold in self.answers), default=0.0)


@dataclass(frozen=True, slots=True)
class EditionFigures:
    """A protocol's figures over the questions of one edition, as the benchmark defines them.

    `accuracy` is the mean score, `of_answerable` that of the questions with an answer, both with bootstrap intervals.
    """

    edition: str
    protocol: str
    accuracy: Interval
    f1: float
    of_answerable: Interval


def together(files: Sequence[tuple[str, BenchmarkQuestions]]) -> BenchmarkQuestions:
    """The questions of several editions, each once, those of the first file as they stand there.

    A question of a later file alone has its id there and the number of the file; where a file has a question several
    times, the first stands for the first of another file, and so on.

    Args:
        files: name and questions of each file; a file that is no whole edition is called by its name.

    Raises:
        DataError: if two files are one edition.
    """
    editions = [found.questions[0].metadata.get(EDITION, "") or name for name, found in files]
    if len(set(editions)) != len(editions):
        raise DataError(f"two of the files are one edition ({', '.join(editions)}): give each once")
    asked: dict[tuple[str, str, int], Question] = {}
    gold: dict[tuple[str, str, int], dict[str, EditionGold]] = {}
    left_out: list[LeftOut] = []
    for number, (edition, (name, found)) in enumerate(zip(editions, files, strict=True), start=1):
        left_out += [replace(item, item=f"{name}: {item.item}") for item in found.left_out]
        for key, question in _keyed(found.questions):
            if key not in asked:
                own = question.question_id if number == 1 else f"{question.question_id}-{number}"
                asked[key] = replace(question, question_id=own)
            said = EditionGold(edition, question.answers, question.answer_format, question.answerable)
            gold.setdefault(key, {})[edition] = said
    questions = tuple(_with_gold(question, gold[key].values()) for key, question in asked.items())
    return BenchmarkQuestions(questions, tuple(left_out))


def _keyed(questions: Iterable[Question]) -> Iterator[tuple[tuple[str, str, int], Question]]:
    """Each question under its document, its wording, and which of the same in the file it is."""
    times: dict[tuple[str, str], int] = {}
    for question in questions:
        wording = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", question.question)).strip().casefold()
        key = (question.metadata.get("document_id", ""), wording)
        times[key] = times.get(key, 0) + 1
        yield (*key, times[key]), question


def _with_gold(question: Question, gold: Iterable[EditionGold]) -> Question:
    stored = [[said.edition, list(said.answers), said.answer_format, said.answerable] for said in gold]
    return replace(question, metadata={**question.metadata, EDITIONS: json.dumps(stored, ensure_ascii=False)})


def gold_of(question: Question) -> tuple[EditionGold, ...]:
    """What each edition says of a question; none where it was not imported from several."""
    stored = json.loads(question.metadata.get(EDITIONS, "[]"))
    return tuple(EditionGold(edition, tuple(answers), form, can) for edition, answers, form, can in stored)


def read_gold(stored: Iterable[Mapping[str, Any]]) -> tuple[EditionGold, ...]:
    """What a result file holds of a row's editions.

    Raises:
        TypeError, KeyError: if it is of another form.
    """
    return tuple(EditionGold(**{**entry, "answers": tuple(entry["answers"])}) for entry in stored)


def count_by_edition(questions: Iterable[Question]) -> dict[str, dict[str, int]]:
    """How many questions each edition has, and how many of them with an answer; empty for a single file."""
    counts: dict[str, dict[str, int]] = {}
    for said in (said for question in questions for said in gold_of(question)):
        of = counts.setdefault(said.edition, {"questions": 0, "answerable": 0})
        of["questions"] += 1
        of["answerable"] += said.answerable
    return counts


def by_rule(result: BenchmarkResult) -> list[EditionFigures]:
    """The rule's figures over each edition of a result; none where there is one file."""
    rows = [(row, row.answer, row.refused) for row in result.scored]
    return _figures("rule", rows, result.seed)


def by_extraction(result: BenchmarkResult, protocol: ProtocolScores) -> list[EditionFigures]:
    """The figures of `official` over each edition: the short answers that were extracted once, by each one's gold."""
    from visor_core.evaluation.verdicts import NOT_ANSWERABLE, OFFICIAL

    if protocol.name != OFFICIAL:
        return []
    of = {row.question_id: row for row in result.finished}
    rows = [
        (of[verdict.question_id], verdict.answer, verdict.answer == NOT_ANSWERABLE)
        for verdict in protocol.given
        if verdict.question_id in of
    ]
    return _figures(protocol.label, rows, result.seed)


def _figures(protocol: str, rows: Sequence[tuple[EpisodeResult, str, bool]], seed: int) -> list[EditionFigures]:
    """Figures of (row, answer, whether it is a refusal), by edition in the order of the files."""
    scores: dict[str, list[tuple[float, bool, bool]]] = {}
    for row, answer, refused in rows:
        for said in row.editions:
            scores.setdefault(said.edition, []).append((said.score(answer), said.answerable, refused))
    return [
        EditionFigures(
            edition,
            protocol,
            bootstrap_mean([score for score, _, _ in found], seed=seed),
            mmlongbench_f1(found),
            bootstrap_mean([score for score, can, _ in found if can], seed=seed),
        )
        for edition, found in scores.items()
    ]


def in_words(figures: EditionFigures) -> str:
    """The figures of an edition in a sentence, for a table's caption."""
    return (
        f"edition {figures.edition}, {figures.accuracy.count} of its questions, protocol {figures.protocol}: accuracy"
        f" {figures.accuracy}, F1 {figures.f1:.3f}; over the {figures.of_answerable.count} answerable questions"
        f" {figures.of_answerable}"
    )


def metrics(found: Iterable[EditionFigures]) -> dict[str, float]:
    """Flat figures under the protocol and the edition, for a tracker; what is not known is left out."""
    named: dict[str, float] = {}
    for figures in found:
        name = figures.protocol.partition(" ")[0]
        edition = re.sub(r"\W+", "_", figures.edition).strip("_").lower()
        named |= {
            f"{name}_accuracy_{edition}": figures.accuracy.estimate,
            f"{name}_f1_{edition}": figures.f1,
            f"{name}_accuracy_of_answerable_{edition}": figures.of_answerable.estimate,
        }
    return {name: value for name, value in named.items() if not math.isnan(value)}
