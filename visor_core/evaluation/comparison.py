"""Evaluations held against each other: the same figures on the same questions, paired tests, who won which question.

Two evaluations are compared only over the questions that both were asked, in the same words, and came to an end with;
what else differs between them (index, corpus, strategy, settings, scoring) is said beside the figures. An *arm* is what
is compared: one evaluation, or one a seed of the same thing. All are compared with the first, under one protocol.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from visor_core.config.policies import WARM_STARTED
from visor_core.errors import DataError
from visor_core.evaluation.figures import Figure, Scored, present
from visor_core.evaluation.pairing import NOT_TESTED, Pairing, pair
from visor_core.evaluation.results import BenchmarkResult
from visor_core.evaluation.statistics import Interval, holm
from visor_core.evaluation.verdicts import RULE, common_protocol, protocol_of, scores
from visor_core.tracking import flat

Key = tuple[int, str]
"""A question of a comparison: the seed it was played with (0 where arms hold one evaluation each), and its id."""


@dataclass(frozen=True)
class Arm:
    """What is compared: an evaluation, or one a seed."""

    label: str
    results: tuple[BenchmarkResult, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its evaluations, in order."""
        return tuple(sorted(result.seed for result in self.results))


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not the same of all arms: its name and each arm's value, as text."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure over all arms: their intervals, and each further arm against the first."""

    figure: Figure
    intervals: tuple[Interval, ...]
    seeds: tuple[tuple[float, ...], ...]
    pairings: tuple[Pairing, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One question, with its episode in every arm."""

    key: Key
    scored: tuple[Scored, ...]

    @property
    def right(self) -> tuple[bool | None, ...]:
        """Whether each arm answered it right."""
        return tuple(scored.right for scored in self.scored)

    @property
    def verdict(self) -> str:
        """`won` and `lost` are the second's where there are two arms; `split` is either where there are more."""
        right = self.right
        if None in right:
            return "not scored"
        if len(set(right)) == 1:
            return "both right" if right[0] and len(right) == 2 else "all right" if right[0] else "none right"
        return "split" if len(right) > 2 else "won" if right[1] else "lost"

    @property
    def same_answer(self) -> bool:
        """Whether all arms gave the same answer, letter case and outer space apart."""
        return len({scored.row.answer.strip().casefold() for scored in self.scored}) == 1

    @property
    def disagrees(self) -> bool:
        """Whether the arms answered otherwise, in what is right or in what they said."""
        return self.verdict in ("won", "lost", "split") or not self.same_answer


@dataclass(frozen=True)
class Comparison:
    """Arms on the questions they share.

    `asked` counts each arm's questions, `failed` those of the shared ones whose episode failed in some arm, which are
    left out, `reworded` those that the arms were asked in other words, left out too.
    """

    arms: tuple[Arm, ...]
    protocol: str
    differences: tuple[Difference, ...]
    items: tuple[Item, ...]
    asked: tuple[int, ...]
    failed: int
    reworded: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The arms' names."""
        return tuple(arm.label for arm in self.arms)

    @property
    def benchmark(self) -> str:
        """The question set, with its split."""
        result = self.arms[0].results[0]
        return f"{result.benchmark} {result.split}".strip()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are clusters; empty where each arm is one evaluation."""
        return self.arms[0].seeds if len(self.arms[0].results) > 1 else ()

    @cached_property
    def figures(self) -> tuple[Compared, ...]:
        """Every figure that the episodes have, p-values corrected over the arms (Holm)."""
        return tuple(self.compared(figure) for figure in present(s for item in self.items for s in item.scored))

    def compared(self, figure: Figure) -> Compared:
        """One figure over all arms."""
        values = [[figure.value(item.scored[number]) for item in self.items] for number in range(len(self.arms))]
        pairings = [self._pairing(figure, values[0], others) for others in values[1:]]
        corrected = holm([pairing.p_value for pairing in pairings])
        return Compared(
            figure,
            tuple(figure.interval([v for v in found if v is not None]) for found in values),
            tuple(self._by_seed(found) for found in values),
            tuple(
                replace(pairing, corrected=p) if len(pairings) > 1 else pairing
                for pairing, p in zip(pairings, corrected, strict=True)
            ),
        )

    def _pairing(self, figure: Figure, first: Sequence[float | None], second: Sequence[float | None]) -> Pairing:
        if not figure.tested:
            return NOT_TESTED
        both = [
            (a, b, item.key[0])
            for a, b, item in zip(first, second, self.items, strict=True)
            if a is not None and b is not None
        ]
        one, other, seeds = ([row[i] for row in both] for i in range(3))
        return pair(one, other, seeds, yes_or_no=figure.yes_or_no)

    def _by_seed(self, values: Sequence[float | None]) -> tuple[float, ...]:
        found = []
        for seed in self.seeds:
            own = [v for v, item in zip(values, self.items, strict=True) if item.key[0] == seed and v is not None]
            found.append(sum(own) / len(own) if own else math.nan)
        return tuple(found)

    def verdicts(self) -> dict[str, int]:
        """Questions by verdict."""
        found: dict[str, int] = {}
        for item in self.items:
            found[item.verdict] = found.get(item.verdict, 0) + 1
        return dict(sorted(found.items()))


def compare(arms: Sequence[Arm], protocol: str = RULE) -> Comparison:
    """Hold arms against the first of them.

    Raises:
        DataError: if there are fewer than two, they have no question in common, are of different benchmarks or of
            different seeds, or were not all judged by one judge of the protocol.
    """
    if len(arms) < 2:
        raise DataError("a comparison needs two results at least: `visor compare A B`")
    _require_one_benchmark(arms)
    _require_same_seeds(arms)
    protocol = common_protocol([(arm.label, result) for arm in arms for result in arm.results], protocol)
    found = [_rows(arm, protocol, clustered=len(arms[0].results) > 1) for arm in arms]
    texts = [_texts(arm, clustered=len(arms[0].results) > 1) for arm in arms]
    shared = [key for key in found[0] if all(key in rows for rows in found[1:])]
    same = [key for key in shared if len({text.get(key, "") for text in texts}) == 1]
    if not same:
        raise DataError(_no_question(arms, reworded=len(shared)))
    whole = [key for key in same if not any(rows[key].row.failed for rows in found)]
    return Comparison(
        arms=tuple(arms),
        protocol=protocol,
        differences=tuple(differences(arms)),
        items=tuple(Item(key, tuple(rows[key] for rows in found)) for key in whole),
        asked=tuple(len(rows) for rows in found),
        failed=len(same) - len(whole),
        reworded=len(shared) - len(same),
    )


def against_the_warm_start(results: Mapping[str, BenchmarkResult]) -> Comparison | None:
    """The runs of a benchmark (`RunPolicy.run`) against the greedy one of the warm start; None where it is not among
    them, or alone."""
    first = WARM_STARTED.run()
    others = [name for name in results if name != first]
    if first not in results or not others:
        return None
    return compare([Arm(name, (results[name],)) for name in (first, *others)])


def _require_one_benchmark(arms: Sequence[Arm]) -> None:
    benchmarks = {arm.label: {result.benchmark for result in arm.results} for arm in arms}
    first = benchmarks[arms[0].label]
    for label, own in benchmarks.items():
        if own != first or len(own) > 1:
            one, other = ("/".join(sorted(names)) or "no benchmark" for names in (first, own))
            raise DataError(
                f"{arms[0].label} is of {one}, {label} of {other}: only evaluations of the same question set are"
                " compared; `visor report` shows all of them on one page"
            )


def _require_same_seeds(arms: Sequence[Arm]) -> None:
    for arm in arms:
        if len(set(arm.seeds)) < len(arm.seeds):
            raise DataError(f"{arm.label} holds two evaluations of one seed {arm.seeds}: an arm has one a seed")
        if len(arm.results) != len(arms[0].results) or (len(arm.results) > 1 and arm.seeds != arms[0].seeds):
            raise DataError(
                f"{arms[0].label} has the seeds {arms[0].seeds}, {arm.label} {arm.seeds}: results with several seeds"
                " are paired seed by seed; give the same seeds for each"
            )


def _rows(arm: Arm, protocol: str, *, clustered: bool) -> dict[Key, Scored]:
    found: dict[Key, Scored] = {}
    for result in arm.results:
        score_of = scores(result, protocol)
        supported = {row.question_id: row.supported for row in result.episodes}
        if protocol != RULE:
            supported |= {v.question_id: v.supported for v in protocol_of(result, protocol).verdicts}
        for row in result.episodes:
            key = (result.seed if clustered else 0, row.question_id)
            found[key] = Scored(row, score_of.get(row.question_id), supported[row.question_id])
    return found


def _texts(arm: Arm, *, clustered: bool) -> dict[Key, str]:
    """What was asked, by question."""
    return {
        (result.seed if clustered else 0, str(asked[0])): str(asked[1])
        for result in arm.results
        for asked in result.identity.get("questions", ())
    }


def _no_question(arms: Sequence[Arm], *, reworded: int) -> str:
    names = " and ".join(arm.label for arm in arms)
    if reworded:
        return (
            f"{names} have {reworded} question ids in common, but asked other questions under them: they are of"
            " different question sets"
        )
    versions = ", ".join(f"{a.label}: {'/'.join(sorted({r.questions_version for r in a.results}))}" for a in arms)
    return (
        f"{names} have no question in common (question sets {versions}): evaluate them on the same questions, as"
        " `visor eval --corpus NAME`"
    )


def differences(arms: Sequence[Arm]) -> list[Difference]:
    """What is not the same of all arms, the facts of the evaluations first, then settings by dotted key."""
    facts = [_facts(arm) for arm in arms]
    names = list(dict.fromkeys(name for found in facts for name in found))
    return [
        Difference(name, values)
        for name in names
        if len(set(values := tuple(found.get(name, "not set") for found in facts))) > 1
    ]


def _facts(arm: Arm) -> dict[str, str]:
    """What an arm was played and scored under; several values of its seeds stand beside each other."""
    found: dict[str, list[str]] = {}
    for result in arm.results:
        for name, value in _facts_of(result).items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return {name: ", ".join(values) for name, values in found.items()}


def _facts_of(result: BenchmarkResult) -> dict[str, str]:
    identity: Mapping[str, Any] = result.identity
    environment = dict(identity.get("environment", {}))
    told: dict[str, Any] = {
        "split": result.split,
        "questions": result.questions_version,
        "corpus": result.corpus,
        "index": result.index_tag,
        "policy": result.policy,
        "strategy": result.strategy,
        "temperature": f"{result.temperature:g}",
        "seed": result.seed,
        "rule": result.rule,
        "scoring code": result.scoring,
        "episode code": identity.get("code", ""),
        **{f"protocol {p.name}": p.label for p in result.protocols},
        **flat({"policy": identity.get("policy", {})}),
        **flat({section: environment.get(section) or {} for section in ("agent", "index")}),
    }
    told.pop("agent.strategy", None)
    return {name: str(value) for name, value in told.items() if value not in ("", None)}
