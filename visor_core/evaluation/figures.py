"""The figures of an episode that tables show and tests compare: one declared list.

A figure reads a row of a result; one that no row has (of an older result, or of another question set) is absent from a
table, not an empty column of it. Whether an answer is right follows the protocol of the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from visor_core.evaluation.behaviour import MEASURES, Measure
from visor_core.evaluation.results import EpisodeResult
from visor_core.evaluation.statistics import Interval, bootstrap_mean, wilson

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True, slots=True)
class Scored:
    """A row of a result with what a protocol says of its answer; `score` is None where it says nothing."""

    row: EpisodeResult
    score: float | None
    supported: bool

    @property
    def right(self) -> bool | None:
        """Whether the answer is fully right; None where it has no score."""
        return None if self.score is None else self.score >= 1.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: what it is called, how it is read, which way is better, and how many digits it is shown with.

    `of` gives None, or NaN, where an episode does not have it. `yes_or_no` figures are shares. `short` is the name that
    programs know it by, where that is not made of its words. One that is not `tested` tells of the machine, and of what
    else it did, as much as of what is compared.
    """

    name: str
    of: Callable[[Scored], float | None]
    better: Better = "higher"
    yes_or_no: bool = False
    digits: int = 3
    short: str = ""
    tested: bool = True

    @property
    def key(self) -> str:
        """What it is called by programs."""
        return self.short or self.name.replace(" ", "_")

    def value(self, scored: Scored) -> float | None:
        """The figure of an episode as a number; None where it has none."""
        found = self.of(scored)
        return None if found is None or math.isnan(found) else float(found)

    def interval(self, values: Sequence[float]) -> Interval:
        """Share with Wilson's, or mean with a bootstrap 95 % interval."""
        return wilson(round(sum(values)), len(values)) if self.yes_or_no else bootstrap_mean(values)


def _field(name: str) -> Callable[[Scored], float | None]:
    """A field of the row, where rows of this version have it."""
    return lambda scored: getattr(scored.row, name, None)


def _fraction(scored: Scored) -> float | None:
    return scored.score


def _supported(scored: Scored) -> float | None:
    return None if scored.score is None else float(scored.supported)


def _shortcut(scored: Scored) -> float | None:
    return None if scored.score is None else float(bool(scored.right) and not scored.supported)


def _measured(measure: Measure) -> Figure:
    """A measure of behaviour and grounding."""

    def value(scored: Scored) -> float | None:
        if measure.of is not None:
            return measure.of(scored.row)
        assert measure.counted is not None
        count, trials = measure.counted(scored.row)
        return count / trials if trials else None

    better: Better = "lower" if measure.name in LESS else "" if measure.name in NEITHER else "higher"
    return Figure(measure.words, value, better, yes_or_no=measure.counted is not None, short=measure.name)


SAID_ALREADY = {"searches", "tokens", "money"}
LESS = {"non_gold_kept", "boxes_refused", "refusal_excess", "false_refusals"}
NEITHER = {"pages_retrieved", "pages_kept", "crops_rejected", "gold_boxes_known"}
RIGHT = Figure("answers right", lambda scored: scored.right, yes_or_no=True)
SCORE = Figure("mean score", _fraction)
SUPPORTED = Figure("supported", _supported, yes_or_no=True)
FIGURES = (
    RIGHT,
    SCORE,
    SUPPORTED,
    Figure("shortcuts", _shortcut, better="lower", yes_or_no=True),
    Figure("evidence", _field("evidence")),
    Figure("page recall", _field("page_recall")),
    Figure("page precision", _field("page_precision")),
    Figure("citation recall", _field("citation_recall")),
    Figure("well formed", _field("well_formed"), yes_or_no=True),
    Figure("turns", _field("turns"), better="lower", digits=2),
    Figure("searches", _field("searches"), better="", digits=2),
    Figure("crops", _field("crops"), better="", digits=2),
    Figure("prompt tokens", _field("prompt_tokens"), better="lower", digits=0),
    Figure("image tokens", _field("image_tokens"), better="lower", digits=0),
    Figure("written tokens", _field("completion_tokens"), better="lower", digits=1),
    Figure("seconds", _field("seconds"), better="lower", digits=2, tested=False),
    Figure("cost", _field("cost"), better="lower", digits=4),
    *(_measured(measure) for measure in MEASURES if measure.name not in SAID_ALREADY),
)
"""All of them, in the order of the tables. Tokens, cost and the seconds of replies and observations are sums over an
episode."""


def present(scored: Iterable[Scored]) -> list[Figure]:
    """The figures that some of the episodes have; a mean score only where it says more than the share of right answers,
    a cost only where something was paid."""
    rows = list(scored)
    found = [figure for figure in FIGURES if any(figure.value(row) is not None for row in rows)]
    fractional = any(row.score not in (None, 0.0, 1.0) for row in rows)
    paid = any(row.row.cost for row in rows)
    return [f for f in found if (f is not SCORE or fractional) and (f.name != "cost" or paid)]
