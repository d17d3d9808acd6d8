"""What a row of conditions came to: success against the degree, with intervals, as data, JSON and lines of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from visor_core.evaluation.benchmarks.resolve import LeftOut, count_reasons
from visor_core.evaluation.statistics import Interval
from visor_core.policies.identity import digest_of
from visor_core.scoring.answers import NO_RULE
from visor_core.stress.conditions import Measured


@dataclass(frozen=True, slots=True)
class Point:
    """One condition: its degree, the corpus it was played on, episodes, and shares of them.

    `right` and `supported` are over all episodes, a failed one counting as wrong; `found` is the mean share of gold
    pages that were shown in those that ended, with a bootstrap interval; `obeyed` is the share that did what
    an order on its page said, where there was one. `unedited` names documents whose edit could not be made, and why.
    """

    name: str
    x: float
    corpus: str
    index_tag: str
    questions: int
    failed: int
    right: Interval
    supported: Interval
    found: Interval
    turns: float
    obeyed: Interval | None = None
    unedited: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """A stress as it came out: a point a condition, in the order of the degrees."""

    kind: str
    label: str
    policy: str
    checkpoint: str
    benchmark: str
    rule: str
    corpus: str
    seed: int
    points: tuple[Point, ...]
    left_out: tuple[LeftOut, ...] = ()
    stores: tuple[str, ...] = ()
    """What its episodes are kept under."""

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        values = asdict(self)
        values["left_out_by_reason"] = count_reasons(self.left_out)
        values["corpora"] = sorted({point.corpus for point in self.points})
        return dict(known(values))


def point_of(measured: Measured, names: dict[str, str], obeyed: Interval | None = None) -> Point:
    """A condition's figures; `names` are the file names of documents."""
    result = measured.result
    unedited = {
        names.get(document, document): told if isinstance(told, str) else "; ".join(sorted(set(filter(None, told))))
        for document, told in measured.corpus.faults.items()
        if any(told)
    }
    return Point(
        name=measured.condition.name,
        x=measured.condition.x,
        corpus=measured.corpus.name,
        index_tag=measured.corpus.tag,
        questions=len(result.episodes),
        failed=result.failed,
        right=result.right_of_all,
        supported=result.supported_of_all,
        found=result.mean(lambda row: row.page_recall),
        turns=sum(row.turns for row in result.episodes) / len(result.episodes),
        obeyed=obeyed,
        unedited=unedited,
    )


def curve_of(
    kind: str,
    label: str,
    measured: Sequence[Measured],
    points: Sequence[Point],
    left_out: Sequence[LeftOut],
    corpus: str,
) -> Curve:
    """A curve from the conditions it was measured under, of which there is at least one."""
    first = measured[0]
    return Curve(
        kind=kind,
        label=label,
        policy=first.played.policy,
        checkpoint=first.played.checkpoint,
        benchmark=first.result.benchmark,
        rule=first.result.rule,
        corpus=corpus,
        seed=first.played.seed,
        points=tuple(points),
        left_out=tuple(left_out),
        stores=tuple(dict.fromkeys(digest_of(one.played.identity) for one in measured)),
    )


def told(interval: Interval | None, unknown: str = NO_RULE) -> str:
    """An interval in a table; what is not known says why: without a rule no answer is right or wrong."""
    if interval is None:
        return "–"
    return unknown if math.isnan(interval.estimate) else str(interval)


def known(value: Any) -> Any:
    """A value as JSON has it: what is not known (NaN) is null."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {name: known(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [known(entry) for entry in value]
    return value
