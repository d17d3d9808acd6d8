"""Behaviour, grounding and misses of an evaluation: the figures of its episodes together, with intervals.

Each `Measure` says over what it is taken: a share of episodes has Wilson's interval, a mean the bootstrap's, and only
episodes where the figure is known count (`scoring.behaviour`, `scoring.diagnosis`). Tables print `table_rows`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from visor_core.evaluation.statistics import Interval, bootstrap_mean, wilson
from visor_core.scoring.behaviour import Behaviour
from visor_core.scoring.diagnosis import MISSES

if TYPE_CHECKING:
    from visor_core.evaluation.results import EpisodeResult


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure: its name, its group and words in tables, and its value of an episode; None where it is not known.

    `counted` gives instead (how many of how many) an episode adds to one share over all of them.
    """

    name: str
    group: str
    words: str
    of: Callable[[EpisodeResult], float | None] | None = None
    counted: Callable[[EpisodeResult], tuple[int, int]] | None = None


def _of(name: str) -> Callable[[EpisodeResult], float | None]:
    """A field of an episode's behaviour."""

    def value(row: EpisodeResult) -> float | None:
        found = getattr(row.behaviour, name) if row.behaviour else None
        return None if found is None else float(found)

    return value


def _share(name: str, within: Callable[[EpisodeResult], bool] = lambda row: True) -> Any:
    """A yes or no of an episode's behaviour, as (1 or 0) of (1, or 0 where it is not known)."""

    def counted(row: EpisodeResult) -> tuple[int, int]:
        found = getattr(row.behaviour, name) if row.behaviour else None
        return (0, 0) if found is None or not within(row) else (int(found), 1)

    return counted


def _tokens(row: EpisodeResult) -> float | None:
    if row.prompt_tokens is None or row.completion_tokens is None:
        return None
    return float(row.prompt_tokens + row.completion_tokens)


def _part(some: str, of: str) -> Callable[[EpisodeResult], float | None]:
    """A share of an episode's own: one count of its behaviour by another, where that is not 0."""

    def value(row: EpisodeResult) -> float | None:
        among = getattr(row.behaviour, of) if row.behaviour else 0
        return getattr(row.behaviour, some) / among if among else None

    return value


def _located(row: EpisodeResult) -> tuple[int, int]:
    return (int(row.behaviour.gold_boxes > 0), int(row.answerable)) if row.behaviour else (0, 0)


MEASURES: tuple[Measure, ...] = (
    Measure("gold_complete", "pages", "all gold pages shown", counted=_share("gold_complete")),
    Measure("first_query", "pages", "first query showed a gold page", counted=_share("first_query")),
    Measure("pages_retrieved", "pages", "pages shown", of=lambda row: float(row.pages_seen)),
    Measure("pages_kept", "pages", "pages kept", of=_of("pages_kept")),
    Measure("non_gold_kept", "pages", "pages kept that are not gold", of=_of("non_gold_kept")),
    Measure("ledger_coverage", "ledger", "gold pages in the ledger", of=_of("ledger_coverage")),
    Measure("ledger_precision", "ledger", "ledger pages that are gold", of=_of("ledger_precision")),
    Measure(
        "chain_complete",
        "evidence",
        "right answers with the whole chain: gold pages shown, read and cited",
        counted=_share("chain_complete", within=lambda row: row.right),
    ),
    Measure("gold_cited", "citations", "gold pages cited", of=_of("gold_cited")),
    Measure("cited_gold", "citations", "cited pages that are gold", of=_of("cited_gold")),
    Measure("citation_coverage", "citations", "the answer stands in a cited region", of=_of("answer_cited")),
    Measure("citation_precision", "citations", "cited regions with the answer in them", of=_of("citations_right")),
    Measure("gold_boxes_known", "boxes", "answerable questions with gold boxes", counted=_located),
    Measure("box_iou50", "boxes", "gold boxes cited with IoU ≥ 0.5", of=_of("boxes_matched")),
    Measure("box_f1", "boxes", "F1 of cited boxes at IoU ≥ 0.5", of=_of("box_f1")),
    Measure("box_held", "boxes", "gold boxes inside a cited region", of=_of("boxes_held")),
    Measure(
        "crops_rejected", "correction", "crops judged bad, of an episode's", of=_part("crops_rejected", "crops_judged")
    ),
    Measure(
        "readings_saved",
        "correction",
        "of its bad crops, those after which an earlier reading stood",
        of=_part("readings_saved", "crops_rejected"),
    ),
    Measure("boxes_refused", "correction", "boxes refused unseen, an episode", of=_of("boxes_refused")),
    Measure("searches", "effort", "searches", of=lambda row: float(row.searches)),
    Measure("tokens", "effort", "tokens", of=_tokens),
    Measure("money", "effort", "money of an episode", of=lambda row: row.cost or None),
    Measure(
        "refusal_precision",
        "refusals",
        "refusals that were right",
        counted=lambda row: (int(row.refused and not row.answerable), int(row.refused)),
    ),
    Measure(
        "refusals",
        "refusals",
        "questions without an answer that were refused",
        counted=lambda row: (int(row.refused and not row.answerable), int(not row.answerable)),
    ),
    Measure(
        "false_refusals",
        "refusals",
        "answerable questions that were refused",
        counted=lambda row: (int(row.refused and row.answerable), int(row.answerable)),
    ),
    Measure(
        "refusal_excess",
        "refusals",
        "share refused minus share without an answer",
        of=lambda row: float(row.refused) - float(not row.answerable),
    ),
)
"""Everything that is measured beside the answers, in the order of tables."""

SHOWN = frozenset(
    {"gold_complete", "first_query", "ledger_precision", "citation_precision", "box_f1", "crops_rejected"}
)
"""The measures of short tables."""


def measured(rows: Sequence[EpisodeResult], *, seed: int = 0) -> dict[str, Interval]:
    """Every measure that is known of some episode, by its name."""
    found: dict[str, Interval] = {}
    for measure in MEASURES:
        if measure.counted is not None:
            counts = [measure.counted(row) for row in rows]
            trials = sum(of for _, of in counts)
            if trials:
                found[measure.name] = wilson(sum(count for count, _ in counts), trials)
        elif measure.of is not None:
            values = [value for row in rows if (value := measure.of(row)) is not None]
            if values:
                found[measure.name] = bootstrap_mean(values, seed=seed)
    return found


def table_rows(rows: Sequence[EpisodeResult], *, seed: int = 0) -> list[tuple[str, str, Interval | None]]:
    """(group, words, figure) of every measure, None where it is not known: the rows of a table."""
    found = measured(rows, seed=seed)
    return [(measure.group, measure.words, found.get(measure.name)) for measure in MEASURES]


def beside_the_answers(rows: Sequence[EpisodeResult]) -> dict[str, float | str]:
    """What a short table shows beside the answers: the measures `SHOWN`, a dash where one is not known, and misses."""
    found = measured(rows)
    shown = {m.words: found[m.name].estimate if m.name in found else "–" for m in MEASURES if m.name in SHOWN}
    return {**shown, "misses": diagnoses_in_words(rows) or "–"}


def diagnoses(rows: Iterable[EpisodeResult]) -> dict[str, int]:
    """Misses by what went wrong, in the order of an episode, those of which there are none included; empty where no
    answer has a score, or none was judged."""
    judged = [row for row in rows if row.score is not None and row.behaviour is not None]
    counts = Counter(row.diagnosis for row in judged)
    return {miss: counts[miss] for miss in MISSES} if judged else {}


def diagnoses_in_words(rows: Iterable[EpisodeResult]) -> str:
    """Misses by what went wrong, as `not found 3, not read 1`; empty where there is none."""
    return ", ".join(f"{miss} {count}" for miss, count in diagnoses(rows).items() if count)


def diagnoses_by(
    rows: Iterable[EpisodeResult], key: Callable[[EpisodeResult], str]
) -> dict[str, tuple[int, dict[str, int]]]:
    """(scored episodes, misses by what went wrong) of each kind of question; `key` names the kind."""
    groups: dict[str, list[EpisodeResult]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return {
        name: (sum(row.score is not None for row in group), diagnoses(group)) for name, group in sorted(groups.items())
    }


def pages_of(row: EpisodeResult) -> str:
    """The number of pages that a row's question needs, or that it has no answer."""
    if not row.answerable:
        return "without an answer"
    return "1 page" if row.hops == 1 else f"{row.hops} pages"


def with_behaviour(row: dict[str, Any]) -> dict[str, Any]:
    """A stored row with its behaviour as an object."""
    stored = row.get("behaviour")
    return {**row, "behaviour": Behaviour(**stored)} if stored else row
