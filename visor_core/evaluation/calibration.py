"""The judge-the-judge set: 40 answers of known worth, hard ones, for a user to try a judge on before trusting it.

Each kind holds right and wrong ones: units, rounding, number words, lists, refusals, added text, names, dates, yes and
no, and answers that give orders to the judge. They are of our own making; `calibration.json` lies beside.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from visor_core.evaluation.judging import Asked, Progress, Protocol, ask
from visor_core.evaluation.statistics import Interval, cohens_kappa, wilson
from visor_core.evaluation.verdicts import Verdict
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy

SET = Path(__file__).with_name("calibration.json")


@dataclass(frozen=True, slots=True)
class Labelled:
    """An answer and whether it is right."""

    asked: Asked
    kind: str
    right: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a judge said of the set, in its order."""

    items: tuple[Labelled, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def judged(self) -> list[tuple[Labelled, Verdict]]:
        """The answers that it gave a verdict on."""
        pairs = zip(self.items, self.verdicts, strict=True)
        return [(item, verdict) for item, verdict in pairs if verdict.score is not None]

    @property
    def failed(self) -> list[tuple[Labelled, Verdict]]:
        """The answers without a verdict."""
        pairs = zip(self.items, self.verdicts, strict=True)
        return [(item, verdict) for item, verdict in pairs if verdict.score is None]

    @property
    def disagreements(self) -> list[tuple[Labelled, Verdict]]:
        """The answers it got wrong."""
        return [(item, verdict) for item, verdict in self.judged if verdict.right != item.right]

    @property
    def accuracy(self) -> Interval:
        """Share of its verdicts that agree with the labels."""
        return wilson(len(self.judged) - len(self.disagreements), len(self.judged))

    @property
    def kappa(self) -> Interval:
        """Its agreement with the labels beyond chance."""
        return cohens_kappa([(item.right, verdict.right) for item, verdict in self.judged])


@cache
def labelled() -> tuple[Labelled, ...]:
    """The set."""
    rows = json.loads(SET.read_text(encoding="utf-8"))
    return tuple(
        Labelled(Asked(row["id"], row["question"], tuple(row["gold"]), row["reply"]), row["kind"], row["right"])
        for row in rows
    )


def calibrate(
    policy: OpenAICompatiblePolicy,
    protocol: Protocol,
    items: Sequence[Labelled] = (),
    progress: Progress | None = None,
) -> Calibration:
    """Ask a judge about the set.

    Raises:
        BudgetError: if the budget stopped it; what came back is kept.
        PolicyError: if not one verdict could be had.
    """
    chosen = tuple(items) or labelled()
    return Calibration(chosen, tuple(ask(policy, protocol, [item.asked for item in chosen], progress)))
