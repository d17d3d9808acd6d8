"""What an evaluation finds: one row an episode, and the figures drawn from the rows with their intervals.

Figures are over the episodes that came to an end; those that *failed* (a request that was refused for good, a page that
could not be drawn) are counted apart, and accuracy and supported success over all episodes stand beside them.
*Supported success* is a right answer whose evidence is complete: every gold fact recorded from its page where facts
are known, else every gold page in the Evidence Space. A *shortcut* is a right answer without complete evidence. Where
the gold of a question is not wholly known, no answer counts as supported. Where a benchmark publishes no rule for
answers, its rows have no score, and every figure that needs one is NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import polars as pl

from visor_core.agent.trajectory import Trajectory
from visor_core.code_version import code_behind, code_version
from visor_core.errors import DataError
from visor_core.evaluation.behaviour import diagnoses, measured, pages_of, with_behaviour
from visor_core.evaluation.benchmarks.resolve import LeftOut, count_reasons
from visor_core.evaluation.editions import EditionGold, gold_of, read_gold
from visor_core.evaluation.reported import accuracy, published
from visor_core.evaluation.statistics import Interval, bootstrap_mean, wilson
from visor_core.evaluation.verdicts import ProtocolScores, protocol_metrics, read_protocols
from visor_core.files import write_json
from visor_core.questions import gold_is_complete
from visor_core.scoring.answers import answer_score, rule_of, says_missing, slidevqa_f1
from visor_core.scoring.behaviour import Behaviour, behaviour
from visor_core.scoring.citations import citation_recall
from visor_core.scoring.diagnosis import diagnose
from visor_core.scoring.facts import evidence, supported
from visor_core.scoring.ledger import pages_read
from visor_core.scoring.located import WordsOf
from visor_core.scoring.retrieval import precision, recall


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """One episode's figures.

    `rule` names the rule of `score`, which is None where the benchmark publishes none; `f1` is SlideVQA's other figure.
    `evidence`, the recalls and the precision are None where the gold is not wholly known or there is none, as for most
    questions without an answer. Tokens are sums over the turns, None where a turn's are not known; `seconds` is what
    the replies and observations took, the wait for a place among the episodes that run left out.
    """

    question_id: str
    trajectory_id: str
    partition: str
    hops: int
    answerable: bool
    outcome: str
    answer: str
    rule: str
    score: float | None
    f1: float | None
    supported: bool
    evidence: float | None
    page_recall: float | None
    page_precision: float | None
    citation_recall: float | None
    well_formed: bool
    turns: int
    searches: int
    crops: int
    pages_seen: int
    prompt_tokens: int | None
    image_tokens: int | None
    completion_tokens: int | None
    seconds: float
    cost: float
    error: str = ""
    kind: str = ""
    document_type: str = ""
    """What its benchmark calls the question and its document; empty where it does not say."""
    answer_format: str = ""
    evidence_sources: tuple[str, ...] = ()
    behaviour: Behaviour | None = None
    """How it went beside its answer; None in a result that was scored before this was measured."""
    diagnosis: str = ""
    """Why the answer is wrong (`scoring.diagnosis`), and the turn it went wrong in; empty where it was not judged."""
    diagnosed_turn: int = 0
    editions: tuple[EditionGold, ...] = ()
    """What each of several editions of the benchmark says of the answer; empty where one file was read."""

    @property
    def failed(self) -> bool:
        """Whether the episode came to no end of its own: what it scores says nothing of the policy."""
        return self.outcome == "error"

    @property
    def right(self) -> bool:
        """Whether the answer is fully right; never where it has no score."""
        return self.score is not None and self.score >= 1.0

    @property
    def shortcut(self) -> bool:
        """A right answer without complete evidence."""
        return self.right and not self.supported

    @property
    def refused(self) -> bool:
        """An answer that says the information is not there: right where it is not, wrong where it is."""
        return says_missing(self.answer)


@cache
def scoring_version() -> str:
    """The code version of what scores an episode: this module, and the measures it stands on."""
    return code_version(*code_behind(__name__, within=("visor_core.scoring", "visor_core.evaluation")))


def score_episode(trajectory: Trajectory, words: WordsOf | None = None) -> EpisodeResult:
    """The figures of one finished episode.

    Args:
        words: the words of a page by its id; without it, what is judged by them is not known.
    """
    question, turns = trajectory.question, trajectory.turns
    diagnosis = diagnose(trajectory, words)
    kinds = [turn.action.kind for turn in turns]
    gold = question.gold_pages if gold_is_complete(question) else ()
    return EpisodeResult(
        question_id=question.question_id,
        trajectory_id=trajectory.trajectory_id,
        partition=question.partition,
        hops=question.hops,
        answerable=question.answerable,
        outcome=trajectory.outcome,
        answer=trajectory.answer,
        rule=rule_of(question),
        score=answer_score(question, trajectory.answer),
        f1=slidevqa_f1(question, trajectory.answer),
        supported=supported(trajectory),
        evidence=evidence(trajectory) if gold or question.gold_facts else None,
        page_recall=recall(trajectory.pages_seen, gold) if gold else None,
        page_precision=precision(pages_read(trajectory), gold) if gold else None,
        citation_recall=citation_recall(trajectory) if gold else None,
        well_formed=trajectory.well_formed,
        turns=len(turns),
        searches=kinds.count("search"),
        crops=kinds.count("crop"),
        pages_seen=len(trajectory.pages_seen),
        **trajectory.tokens(),
        seconds=sum(turn.completion.seconds + turn.observation.seconds for turn in turns),
        cost=sum(turn.completion.cost for turn in turns),
        error=trajectory.error,
        kind=question.kind,
        document_type=question.document_type,
        answer_format=question.answer_format,
        evidence_sources=question.evidence_sources,
        behaviour=behaviour(trajectory, words),
        diagnosis=diagnosis.miss if diagnosis else "",
        diagnosed_turn=diagnosis.turn if diagnosis else 0,
        editions=gold_of(question),
    )


@dataclass(frozen=True)
class BenchmarkResult:
    """An evaluation of one policy on one question set."""

    benchmark: str
    split: str
    policy: str
    checkpoint: str
    strategy: str
    index_tag: str
    seed: int
    temperature: float
    questions_version: str
    wall_seconds: float
    episodes: tuple[EpisodeResult, ...]
    corpus: str = ""
    identity: dict[str, Any] = field(default_factory=dict)
    """What the episodes are kept under (`playing.identity_of`)."""
    scoring: str = ""
    """The code version that scored them."""
    kept: int = 0
    """Episodes played by earlier calls, of which the oldest ended at `kept_from` and the newest at `kept_to`."""
    kept_from: str = ""
    kept_to: str = ""
    fingerprints: tuple[str, ...] = ()
    """A server's marks on its replies; several mean that it changed while it was asked."""

    left_out: tuple[LeftOut, ...] = ()
    protocols: tuple[ProtocolScores, ...] = ()
    """What other protocols than the rule say of the answers (`verdicts.scores` gives each the same face)."""
    edition: str = ""
    """Which released file its questions are, whole; empty where the file is not told apart or is a part of one."""

    @property
    def finished(self) -> tuple[EpisodeResult, ...]:
        """The episodes that came to an end."""
        return tuple(row for row in self.episodes if not row.failed)

    @property
    def failed(self) -> int:
        """How many episodes failed."""
        return len(self.episodes) - len(self.finished)

    @property
    def failures(self) -> str:
        """`n failed of m`."""
        return f"{self.failed} failed of {len(self.episodes)}"

    @property
    def rule(self) -> str:
        """The rule by which answers were scored, as tables print it."""
        return ", ".join(sorted({row.rule for row in self.episodes}))

    @property
    def left_out_by_reason(self) -> dict[str, int]:
        """How many items of the benchmark file could not be used, by reason, the most frequent first."""
        return count_reasons(self.left_out)

    @property
    def scored(self) -> list[EpisodeResult]:
        """Finished episodes whose answer has a score."""
        return [row for row in self.finished if row.score is not None]

    def share(self, of: Callable[[EpisodeResult], bool], within: Iterable[EpisodeResult] | None = None) -> Interval:
        """Share of the finished episodes (or of `within`) with a property, with Wilson's 95 % interval."""
        rows = list(self.finished if within is None else within)
        return wilson(sum(of(row) for row in rows), len(rows))

    def mean(self, of: Callable[[EpisodeResult], float | None]) -> Interval:
        """Mean over the finished episodes that have the figure, with a bootstrap 95 % interval."""
        return bootstrap_mean([found for row in self.finished if (found := of(row)) is not None], seed=self.seed)

    @property
    def answers_right(self) -> Interval:
        """Share of answers that are fully right; NaN where no rule is published."""
        return self.share(lambda row: row.right, self.scored)

    @property
    def accuracy(self) -> Interval:
        """What the benchmark calls accuracy (`reported.accuracy`); NaN where no rule is published."""
        return accuracy(self.benchmark, [row.score or 0.0 for row in self.scored], seed=self.seed)

    @property
    def accuracy_of_all(self) -> Interval:
        """`accuracy` over all episodes: a failed one counts as wrong."""
        scores = [0.0 if row.failed else row.score for row in self.episodes if row.score is not None]
        return accuracy(self.benchmark, scores, seed=self.seed)

    @property
    def right_of_all(self) -> Interval:
        """Share of all episodes with an answer that is fully right: a failed one counts as wrong."""
        rows = [row for row in self.episodes if row.score is not None]
        return self.share(lambda row: row.right and not row.failed, rows)

    @property
    def supported_of_all(self) -> Interval:
        """Share of all episodes whose answer is right with all evidence: a failed one counts as none."""
        rows = [row for row in self.episodes if row.score is not None]
        return self.share(lambda row: row.supported and not row.failed, rows)

    @property
    def supported_success(self) -> Interval:
        """Share of answers that are right with all evidence."""
        return self.share(lambda row: row.supported, self.scored)

    @property
    def shortcut_rate(self) -> Interval:
        """Share of the finished episodes that are right without complete evidence."""
        return self.share(lambda row: row.shortcut, self.scored)

    def published(self) -> dict[str, float]:
        """The figures that the benchmark itself reports, by its names (`reported.published`)."""
        return published(self.benchmark, self.scored)

    @property
    def accuracy_of_answerable(self) -> Interval:
        """Mean score of the questions that have an answer, which is what papers count over 847 or 859 questions of
        MMLongBench-Doc, by the edition of its file; NaN if none has a score."""
        return bootstrap_mean([row.score or 0.0 for row in self.scored if row.answerable], seed=self.seed)

    def rule_in_words(self) -> str:
        """The rule by which answers were scored and the figures that the benchmark itself reports, for a table."""
        if not self.scored:
            return f"{self.rule} for answers of {self.benchmark}"
        figures = ", ".join(f"{name} {value:.3f}" for name, value in self.published().items())
        answerable = sum(row.answerable for row in self.scored)
        if self.benchmark == "mmlongbench" and answerable:
            of = f" of the edition {self.edition}" if self.edition else ""
            figures += f"; over the {answerable} answerable questions{of} {self.accuracy_of_answerable.estimate:.3f}"
        return f"answers scored by the rule {self.rule}{': ' + figures if figures else ''}"

    def by_kind(self) -> dict[str, dict[str, Interval]]:
        """Answers fully right and supported success by what the benchmark calls the question; empty where it does not
        say."""
        kinds = sorted({row.kind for row in self.scored if row.kind})
        return {kind: self._stratum([row for row in self.scored if row.kind == kind]) for kind in kinds}

    def by_pages(self) -> dict[str, dict[str, Interval]]:
        """Answers fully right and supported success by the number of pages a question needs (`pages_of`); those
        without an answer come last, as they need none."""
        order = {pages_of(row): (not row.answerable, row.hops) for row in self.scored}
        return {
            pages: self._stratum([row for row in self.scored if pages_of(row) == pages])
            for pages in sorted(order, key=order.__getitem__)
        }

    def _stratum(self, rows: Sequence[EpisodeResult]) -> dict[str, Interval]:
        right, supported = (lambda row: row.right), (lambda row: row.supported)
        return {"right": self.share(right, rows), "supported": self.share(supported, rows)}

    @cached_property
    def behaviour(self) -> dict[str, Interval]:
        """Behaviour and grounding by the names of `behaviour.MEASURES`, with intervals; what is not known is absent."""
        return measured(self.finished, seed=self.seed)  # a bootstrap a measure, and every report asks for it

    def diagnoses(self) -> dict[str, int]:
        """Misses by what went wrong, in the order of an episode; empty where nothing was judged."""
        return diagnoses(self.finished)

    def outcomes(self) -> dict[str, int]:
        """Episodes by how they ended."""
        found: dict[str, int] = {}
        for row in self.episodes:
            found[row.outcome] = found.get(row.outcome, 0) + 1
        return dict(sorted(found.items()))

    def metrics(self) -> dict[str, float]:
        """Flat figures for a tracker; what is not known, as tokens that a server does not count, is left out.

        Figures that need a rule for answers are absent where none is published; what the benchmark itself reports
        stands under its name (`mmlongbench_accuracy`, `slidevqa_em`).
        """
        turns = max(1, sum(row.turns for row in self.finished))
        figures: dict[str, float] = {}
        if scores := [row.score for row in self.finished if row.score is not None]:
            figures = {
                "accuracy": self.accuracy.estimate,
                "accuracy_of_all": self.accuracy_of_all.estimate,
                "score": sum(scores) / len(scores),
                "supported": self.supported_success.estimate,
                "supported_of_all": self.supported_of_all.estimate,
                "shortcut_rate": self.shortcut_rate.estimate,
            }
        figures |= {f"{self.benchmark}_{name.lower()}": value for name, value in self.published().items()}
        figures |= {
            "evidence": self.mean(lambda row: row.evidence).estimate,
            "page_recall": self.mean(lambda row: row.page_recall).estimate,
            "page_precision": self.mean(lambda row: row.page_precision).estimate,
            "citation_recall": self.mean(lambda row: row.citation_recall).estimate,
            "well_formed": self.share(lambda row: row.well_formed).estimate,
            "turns": self.mean(lambda row: row.turns).estimate,
            "crops": self.mean(lambda row: row.crops).estimate,
            "seconds_per_episode": self.wall_seconds / max(1, len(self.episodes)),
            "episodes": float(len(self.episodes)),
            "failed": float(self.failed),
            "left_out": float(len(self.left_out)),
            "cost": sum(row.cost for row in self.episodes),
        }
        for kind in ("prompt_tokens", "image_tokens", "completion_tokens"):
            counts = [getattr(row, kind) for row in self.finished]
            if None not in counts:
                figures[f"{kind}_per_turn"] = sum(counts) / turns
        figures |= {name: interval.estimate for name, interval in self.behaviour.items()}
        figures |= {f"missed_{miss.replace(' ', '_')}": float(count) for miss, count in self.diagnoses().items()}
        if self.benchmark == "mmlongbench" and any(row.answerable for row in self.scored):
            figures["accuracy_of_answerable"] = self.accuracy_of_answerable.estimate
        for pages, stratum in self.by_pages().items():
            figures |= {f"{name}_{pages.replace(' ', '_')}": value.estimate for name, value in stratum.items()}
        return figures | protocol_metrics(self)

    def frame(self) -> pl.DataFrame:
        """One row an episode."""
        return pl.DataFrame([asdict(row) for row in self.episodes], infer_schema_length=None)

    def save(self, path: Path) -> None:
        """Write everything as JSON, by an atomic rename; the figures stand beside the rows for other readers."""
        known = {name: value for name, value in self.metrics().items() if not math.isnan(value)}
        limits = {name: [value.low, value.high, value.count] for name, value in self.behaviour.items()}
        derived = {"rule": self.rule, "left_out_by_reason": self.left_out_by_reason, "metrics": known}
        derived |= {"intervals": limits, "diagnoses": self.diagnoses()}
        write_json(path, {**asdict(self), **derived})


def _row(stored: dict[str, Any]) -> EpisodeResult:
    """One row as it was stored; its sources and editions are lists in JSON."""
    row = with_behaviour(stored)
    lists = {"evidence_sources": tuple(row.get("evidence_sources", ())), "editions": read_gold(row.get("editions", ()))}
    return EpisodeResult(**{**row, **lists})


def read_result(path: Path) -> BenchmarkResult:
    """Read what `BenchmarkResult.save` wrote.

    Raises:
        DataError: naming the file, if it is missing, damaged or of another form.
    """
    if not path.is_file():
        raise DataError(f"no evaluation at {path}: run `visor eval` first")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        for derived in ("rule", "left_out_by_reason", "metrics"):
            data.pop(derived)
        for derived in ("intervals", "diagnoses"):  # a result from before they were measured has none
            data.pop(derived, None)
        rows = tuple(_row(row) for row in data.pop("episodes"))
        data["fingerprints"] = tuple(data.get("fingerprints", ()))
        left_out = tuple(LeftOut(**row) for row in data.pop("left_out"))
        protocols = read_protocols(data.pop("protocols", ()))
        return BenchmarkResult(episodes=rows, left_out=left_out, protocols=protocols, **data)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not an evaluation of this version ({error}): run `visor eval` again") from error
