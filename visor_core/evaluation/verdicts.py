"""What a protocol other than the rule says of answers: one verdict an answer, kept with the reply that gave it.

A *protocol* is how an answer comes to a score. `rule` is the benchmark's published rule, whose scores are the rows'
own; `judge` and `judge-1-5` are a language model's word, `official` is MMLongBench-Doc's rule on the short answer that
a language model extracts. A verdict that could not be had has no score and a reason: it is counted apart, never as
wrong.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from visor_core.errors import DataError
from visor_core.evaluation import editions
from visor_core.evaluation.statistics import Interval, bootstrap_mean, cohens_kappa, wilson

if TYPE_CHECKING:
    from visor_core.evaluation.results import BenchmarkResult, EpisodeResult

RULE = "rule"
"""The protocol of the published rules."""
OFFICIAL = "official"
JUDGE = "judge"
JUDGE_1_5 = "judge-1-5"
ASKED = (JUDGE, JUDGE_1_5, OFFICIAL)
"""The protocols that ask a language model."""
UNREAD = "no verdict in "
"""What the reason begins with where replies came, and none of them could be read."""
NOT_ANSWERABLE = "Not answerable"
"""The extracted answer that MMLongBench-Doc's F1 takes for a refusal, letter by letter."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A protocol's word on one answer.

    Attributes:
        score: in [0, 1]; None where there is no verdict, which `error` explains.
        raw: the model's reply as it came; empty where none was asked, as for an empty answer.
        answer: the short answer that was extracted and scored (`official`).
        supported: whether the answer is right by this protocol, and all its evidence was recorded.
    """

    question_id: str
    score: float | None
    raw: str = ""
    error: str = ""
    answer: str = ""
    supported: bool = False

    @property
    def right(self) -> bool:
        """Whether the answer is fully right."""
        return self.score is not None and self.score >= 1.0

    @property
    def unread(self) -> bool:
        """Whether the model replied, and none of its replies could be read: they are kept, and not asked for again."""
        return self.score is None and self.error.startswith(UNREAD)


@dataclass(frozen=True, slots=True)
class ProtocolScores:
    """One protocol's verdicts on the answers of an evaluation.

    Attributes:
        model, endpoint, revision: the model that was asked, its server (no secrets), the user's word for its weights.
        prompt: digest of the prompt's wording.
        answers: digest of the answers that were judged (`answers_digest`).
    """

    name: str
    model: str
    endpoint: str
    revision: str
    prompt: str
    answers: str
    verdicts: tuple[Verdict, ...]

    @property
    def label(self) -> str:
        """The protocol and who spoke it, as tables print it."""
        return f"{self.name} ({self.model}{'@' + self.revision if self.revision else ''}, prompt {self.prompt[:8]})"

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called: its label, as tables print it, or its protocol alone."""
        speaker = f"{self.name} ({self.model}"
        return (self.label, f"{speaker})", f"{speaker}{'@' + self.revision if self.revision else ''})", self.name)

    @property
    def given(self) -> tuple[Verdict, ...]:
        """The verdicts that were had."""
        return tuple(verdict for verdict in self.verdicts if verdict.score is not None)

    @property
    def failed(self) -> int:
        """How many verdicts could not be had."""
        return len(self.verdicts) - len(self.given)

    @property
    def right(self) -> Interval:
        """Share of answers that are fully right, of those with a verdict; Wilson's 95 % interval."""
        return wilson(sum(verdict.right for verdict in self.given), len(self.given))

    @property
    def supported(self) -> Interval:
        """Share of answers with a verdict that are right with all evidence."""
        return wilson(sum(verdict.supported for verdict in self.given), len(self.given))

    @property
    def accuracy(self) -> Interval:
        """The mean score for `official`, as MMLongBench-Doc has it, with a bootstrap interval; else `right`."""
        if self.name != OFFICIAL:
            return self.right
        return bootstrap_mean([verdict.score or 0.0 for verdict in self.given])


def answers_digest(rows: Iterable[EpisodeResult]) -> str:
    """What was judged: the digest (16 hex digits) of questions and answers, in whatever order."""
    told = json.dumps(sorted((row.question_id, row.answer) for row in rows if not row.failed))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def protocol_of(result: BenchmarkResult, protocol: str) -> ProtocolScores:
    """The verdicts of a protocol by one of its `names`; where several models spoke, the last that was added.

    Raises:
        DataError: if the evaluation was not judged so.
    """
    found = [scores for scores in result.protocols if protocol in scores.names]
    if not found:
        known = ", ".join([RULE, *(scores.label for scores in result.protocols)])
        name = protocol if protocol in ASKED else JUDGE
        raise DataError(
            f"this evaluation of {result.policy} has no scores by the protocol {protocol!r} (it has {known}):"
            f" `visor judge RESULT --protocol {name} --endpoint URL --model NAME` adds them"
        )
    return found[-1]


def common_protocol(results: Sequence[tuple[str, BenchmarkResult]], protocol: str) -> str:
    """The label of the one judge, by that protocol, who judged all results; the rule is everybody's.

    Where several judged all of them, it is the one that was added last to the first.

    Args:
        results: each with what it is called.

    Raises:
        DataError: if a result was not judged so, or no judge spoke on all of them.
    """
    if protocol == RULE:
        return RULE
    for _, result in results:
        protocol_of(result, protocol)
    spoken = [[s.label for s in result.protocols if protocol in s.names] for _, result in results]
    common = [label for label in spoken[0] if all(label in labels for labels in spoken)]
    if not common:
        told = "; ".join(f"{name} by {', '.join(own)}" for (name, _), own in zip(results, spoken, strict=True))
        raise DataError(
            f"no one judge spoke on all of these results, and verdicts of different judges are not compared ({told}):"
            " `visor judge RESULT` with the same --endpoint, --model and prompts for each"
        )
    return common[-1]


def scores(result: BenchmarkResult, protocol: str = RULE) -> dict[str, float | None]:
    """The score of each finished episode under a protocol, by question id; None where it has none.

    Raises:
        DataError: if the evaluation was not judged by the protocol.
    """
    if protocol == RULE:
        return {row.question_id: row.score for row in result.finished}
    by_id = {verdict.question_id: verdict.score for verdict in protocol_of(result, protocol).verdicts}
    return {row.question_id: by_id.get(row.question_id) for row in result.finished}


def agreement(result: BenchmarkResult, protocol: ProtocolScores) -> Interval:
    """Cohen's kappa of the protocol and the rule on answers that both judged right or not, with its 95 % interval."""
    by_rule = scores(result)
    pairs = [
        ((by_rule[verdict.question_id] or 0.0) >= 1.0, verdict.right)
        for verdict in protocol.given
        if by_rule.get(verdict.question_id) is not None
    ]
    return cohens_kappa(pairs)


def official_f1(result: BenchmarkResult, protocol: ProtocolScores) -> float:
    """MMLongBench-Doc's F1 on extracted answers."""
    from visor_core.scoring.mmlongbench import mmlongbench_f1

    answerable = {row.question_id: row.answerable for row in result.finished}
    return mmlongbench_f1(
        (verdict.score or 0.0, answerable[verdict.question_id], verdict.answer == NOT_ANSWERABLE)
        for verdict in protocol.given
        if verdict.question_id in answerable
    )


def over_answerable(result: BenchmarkResult, protocol: ProtocolScores) -> Interval:
    """The protocol's accuracy on questions that can be answered, the ones that papers on retrieval count."""
    answerable = {row.question_id for row in result.finished if row.answerable}
    kept = tuple(verdict for verdict in protocol.verdicts if verdict.question_id in answerable)
    return replace(protocol, verdicts=kept).accuracy


def protocol_metrics(result: BenchmarkResult) -> dict[str, float]:
    """The figures of every protocol under its name, for a tracker; what is not known is left out.

    Where several models spoke by one protocol, they are those of the last.
    """
    figures: dict[str, float] = editions.metrics(editions.by_rule(result))
    for protocol in result.protocols:
        figures |= editions.metrics(editions.by_extraction(result, protocol))
        name = protocol.name.replace("-", "_")
        figures |= {
            f"{name}_accuracy": protocol.accuracy.estimate,
            f"{name}_accuracy_of_answerable": over_answerable(result, protocol).estimate,
            f"{name}_right": protocol.right.estimate,
            f"{name}_supported": protocol.supported.estimate,
            f"{name}_kappa_with_rule": agreement(result, protocol).estimate,
            f"{name}_verdicts": float(len(protocol.given)),
            f"{name}_failed_verdicts": float(protocol.failed),
        }
        if protocol.name == OFFICIAL:
            figures[f"{name}_f1"] = official_f1(result, protocol)
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def protocols_in_words(result: BenchmarkResult) -> list[str]:
    """The protocols by which answers were scored, the rule first, a line each, and one an edition where several are."""
    told = [result.rule_in_words(), *map(editions.in_words, editions.by_rule(result))]
    for protocol in result.protocols:
        told += [in_words(result, protocol), *map(editions.in_words, editions.by_extraction(result, protocol))]
    return told


def in_words(result: BenchmarkResult, protocol: ProtocolScores) -> str:
    """A protocol's figures in a sentence, for a table's caption."""
    answerable = over_answerable(result, protocol)
    of = f" of the edition {result.edition}" if result.edition else ""
    told = [f"accuracy {protocol.accuracy}", f"over the {answerable.count} answerable questions{of} {answerable}"]
    if protocol.name == OFFICIAL:
        told.insert(1, f"F1 {official_f1(result, protocol):.3f}")
    kappa = agreement(result, protocol)
    if kappa.count:
        told.append(f"kappa with the rule {kappa} on {kappa.count}")
    if protocol.failed:
        told.append(f"{protocol.failed} of {len(protocol.verdicts)} verdicts failed and are counted apart")
    return f"protocol {protocol.label}: {'; '.join(told)}"


def read_protocols(stored: Iterable[dict[str, Any]]) -> tuple[ProtocolScores, ...]:
    """What a result file holds of them.

    Raises:
        TypeError, KeyError: if it is of another form.
    """
    return tuple(
        ProtocolScores(**{**entry, "verdicts": tuple(Verdict(**verdict) for verdict in entry["verdicts"])})
        for entry in stored
    )
