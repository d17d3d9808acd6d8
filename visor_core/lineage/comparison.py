"""A build made again, held against its record: data versions, weights, and where those may differ the measured figures.

On the same kind of machine every deterministic stage has to come out the same. On another kind trained weights differ
by rounding, and what they score is compared on the same questions: it agrees where the 95 % interval of the paired
difference holds 0.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from visor_core.config import Home
from visor_core.evaluation.results import BenchmarkResult, EpisodeResult, read_result
from visor_core.evaluation.statistics import limits, paired_difference
from visor_core.lineage.graph import EVALUATION, Build, Lineage

Verdict = Literal["identical", "agrees", "differs"]
EXIT = {"identical": 0, "differs": 1, "agrees": 3}
"""Exit codes of `visor reproduce`; 2 is an error before anything was rebuilt."""
MEASURED = ("benchmark_results", EVALUATION)
"""Builds that hold results of evaluations."""
FIGURES: dict[str, Callable[[EpisodeResult], float]] = {
    "answers right": lambda row: float(row.right),
    "supported": lambda row: float(row.supported),
}
"""What of an episode is compared."""


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """One build beside the one it was rebuilt as; `again` is None where it was not rebuilt."""

    recorded: Build
    again: Build | None

    @property
    def same_data(self) -> bool:
        """Whether the data version is the same."""
        return self.again is not None and self.again.data_version == self.recorded.data_version

    @property
    def same_weights(self) -> bool:
        """Whether the weights hash is the same; that of a build without weights is."""
        return self.again is not None and self.again.stored.get("weights") == self.recorded.stored.get("weights")

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return self.same_data and self.same_weights

    @property
    def text(self) -> str:
        """One line."""
        if self.again is None:
            return f"{self.recorded.node}: not rebuilt"
        if self.identical:
            weights = self.recorded.stored.get("weights")
            said = f", weights {weights[:16]}" if weights else ""
            return f"{self.recorded.node}: identical, data {self.recorded.data_version}{said}"
        kinds = [
            f"{name} {str(before)[:16]} → {str(after)[:16]}"
            for name, before, after in (
                ("data", self.recorded.data_version, self.again.data_version),
                ("weights", self.recorded.stored.get("weights", ""), self.again.stored.get("weights", "")),
            )
            if before != after
        ]
        return f"{self.recorded.node}: differs, {', '.join(kinds)}"


@dataclass(frozen=True, slots=True)
class Agreement:
    """One figure of an evaluation, recorded and measured again on the same questions."""

    name: str
    agrees: bool
    text: str


@dataclass(frozen=True)
class Reproduction:
    """What came of rebuilding a lineage."""

    stages: tuple[StageOutcome, ...]
    figures: tuple[Agreement, ...]
    verdict: Verdict

    @property
    def first_difference(self) -> str:
        """The first stage that came out otherwise; empty without one."""
        return next((outcome.recorded.node for outcome in self.stages if not outcome.identical), "")


def compare_rebuilt(
    recorded: Lineage, rebuilt: Mapping[str, Build], homes: tuple[Home, Home], *, exact: bool
) -> Reproduction:
    """Compare every build of a lineage with the one that was made again.

    Args:
        recorded: the lineage that was rebuilt.
        rebuilt: builds of the new home by node.
        homes: the old and the new home, where results lie.
        exact: whether nothing may differ: the machine is of the same kind, and all stages are deterministic.

    Raises:
        DataError: if a result cannot be read.
    """
    stages = tuple(StageOutcome(build, rebuilt.get(build.node)) for build in recorded.builds)
    if all(outcome.identical for outcome in stages):
        return Reproduction(stages, (), "identical")
    if exact or any(outcome.again is None for outcome in stages):
        return Reproduction(stages, (), "differs")
    figures = [
        figure
        for outcome in stages
        if outcome.recorded.stage in MEASURED and outcome.again is not None
        for figure in compare_figures(results_of(outcome.recorded, homes[0]), results_of(outcome.again, homes[1]))
    ]
    agrees = bool(figures) and all(figure.agrees for figure in figures)
    return Reproduction(stages, tuple(figures), "agrees" if agrees else "differs")


def results_of(build: Build, home: Home) -> dict[str, BenchmarkResult]:
    """The evaluations that a build holds, by name.

    Raises:
        DataError: as `read_result`.
    """
    place = build.folder(home)
    files = [place] if build.stage == EVALUATION else sorted(place.glob("*.json"))
    return {EVALUATION if path == place else path.stem: read_result(path) for path in files}


def compare_figures(recorded: Mapping[str, BenchmarkResult], again: Mapping[str, BenchmarkResult]) -> list[Agreement]:
    """Each figure of each evaluation, compared question by question."""
    found = []
    for name, result in recorded.items():
        if name not in again:
            found.append(Agreement(name, False, f"{name}: not measured again"))
            continue
        rows = {row.question_id: row for row in again[name].episodes}
        asked = [row.question_id for row in result.episodes]
        if sorted(asked) != sorted(rows):
            found.append(Agreement(name, False, f"{name}: other questions were asked"))
            continue
        pairs = [(row, rows[row.question_id]) for row in result.episodes]
        found += [_agreement(f"{name}, {figure}", pairs, figure) for figure in FIGURES]
    return found


def _agreement(name: str, pairs: Sequence[tuple[EpisodeResult, EpisodeResult]], figure: str) -> Agreement:
    value = FIGURES[figure]
    before, after = [value(old) for old, _ in pairs], [value(new) for _, new in pairs]
    if before == after:
        return Agreement(name, True, f"{name}: the same on all {len(pairs)} questions")
    test = paired_difference(before, after)
    agrees = not math.isnan(test.low) and test.low <= 0.0 <= test.high
    means = sum(before) / len(before), sum(after) / len(after)
    said = f"{name}: {means[0]:.3f} → {means[1]:.3f}, difference {test.difference:+.3f} {limits(test, '+')}"
    return Agreement(name, agrees, said)


def rows_version(rows: Sequence[EpisodeResult]) -> str:
    """Content hash (16 hex digits) of what an evaluation found: answers and scores, neither time nor ids of a run."""
    lines = sorted(
        json.dumps([row.question_id, row.outcome, row.answer, row.score, row.supported, row.turns]) for row in rows
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
