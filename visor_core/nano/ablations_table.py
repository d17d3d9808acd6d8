"""The ablations as Markdown and as a page with a plot: success under each setting, and against the agent as trained.

Differences are a setting minus `trained`, on the same questions. With one seed the questions are the unit (bootstrap,
McNemar's exact test), with several the seed is the cluster; p-values are corrected for the number of settings (Holm).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from html import escape
from statistics import fmean
from typing import Literal

from visor_core.evaluation.charts import IntervalRow, interval_chart
from visor_core.evaluation.pairing import Pairing, in_words, pair
from visor_core.evaluation.report_style import REPORT_STYLE
from visor_core.evaluation.statistics import Interval, holm, wilson
from visor_core.evaluation.tables import figures_table
from visor_core.nano.ablations import TRAINED
from visor_core.nano.study_figures import Outcomes, RivalFigures
from visor_core.nano.study_table import a_turn, stamp
from visor_core.trajectories.viewer_page import page

Kind = Literal["inference", "retrained"]
RUNS = {"greedy": "greedy", "sampled": "T = 1"}
HEADS = (
    "setting", "supported, greedy", "against trained", "answers right, greedy", "supported, T = 1", "against trained",
    "turns", "tokens a turn",
)  # fmt: skip
ABOUT = {
    "inference": "One checkpoint a seed, trained under the profile's own agent (`trained`), played under other"
    " settings: what a part does at play for a policy that has learnt with it, not what it is worth.",
    "retrained": "A policy trained under each setting from the same base model, with the profile's own steps, and"
    " played under it.",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One setting: shares over all seeds, and each run's pairing with `trained`; `same` if nothing is set otherwise."""

    name: str
    supported: dict[str, Interval]
    right: Interval
    against: dict[str, Pairing]
    turns: float
    tokens: float
    same: bool


def lines_of(results: Sequence[RivalFigures], as_trained: Collection[str] = ()) -> list[Line]:
    """The rows of the table, `trained` first.

    Args:
        results: figures of each seed, by ablation.
        as_trained: ablations that change nothing of the profile's agent.
    """
    names = list(results[0].greedy)
    against: dict[str, dict[str, Pairing]] = {name: {} for name in names}
    for run in RUNS:
        others = [name for name in names if name != TRAINED and name not in as_trained]
        found = {name: _paired(results, name, run) for name in others}
        corrected = holm([pairing.p_value for pairing in found.values()])
        for (name, pairing), p in zip(found.items(), corrected, strict=True):
            against[name][run] = replace(pairing, corrected=p)
    return [
        Line(
            name=name,
            supported={run: _share(results, name, run, "supported") for run in RUNS},
            right=_share(results, name, "greedy", "right"),
            against=against[name],
            turns=fmean(fmean(r.greedy[name].turns) for r in results),
            tokens=a_turn([(r, r.greedy[name]) for r in results]),
            same=name in as_trained and name != TRAINED,
        )
        for name in names
    ]


def ablations_markdown(
    results: Sequence[RivalFigures], kind: Kind, split: str, commit: str, as_trained: Collection[str] = ()
) -> str:
    """The table with what it is of and how it was tested."""
    rows = [f"| {' | '.join(_cells(line))} |" for line in lines_of(results, as_trained)]
    head = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    return "\n".join([_heading(results, kind, split, commit), "", *head, *rows]) + "\n"


def ablations_html(
    results: Sequence[RivalFigures], kind: Kind, split: str, commit: str, as_trained: Collection[str] = ()
) -> str:
    """The same as a page, with a plot of the shares and their intervals."""
    lines = lines_of(results, as_trained)
    title = {"inference": "Inference-only ablations", "retrained": "Retrained ablations"}[kind]
    charts = ""
    for run, label in RUNS.items():
        chart = interval_chart([IntervalRow(x.name, x.supported[run]) for x in lines], label=f"supported, {label}")
        charts += f"<figure><figcaption>supported success, {label}</figcaption>{chart}</figure>"
    table = figures_table("Figures", HEADS, [list(map(escape, _cells(line))) for line in lines])
    text = (
        f'<div class="eyebrow">VISOR study</div><h1>{title}</h1><p>{escape(_heading(results, kind, split, commit))}</p>'
        f'<div class="charts">{charts}</div><h2>Figures</h2>{table}'
    )
    return page(title, text, style=REPORT_STYLE)


def _heading(results: Sequence[RivalFigures], kind: Kind, split: str, commit: str) -> str:
    seeds = ", ".join(str(r.seed) for r in results)
    how = (
        "the seed as cluster (t test)"
        if len(results) > 1
        else "one seed: intervals by bootstrap over questions, p by McNemar's exact test, nothing said of other seeds"
    )
    return (
        f"{ABOUT[kind]} {len(results)} seed{'s' if len(results) > 1 else ''} ({seeds}), "
        f"{len(results[0].strata.hops)} {split} questions each, scored by the rule; {stamp(results, commit)}. Shares "
        f"with Wilson's 95 % intervals; differences paired by question, {how}; p also by Holm over the settings. "
        "Without an Evidence Space a fact counts as recorded if the thought at its page states it."
    )


def _cells(line: Line) -> list[str]:
    def against(run: str) -> str:
        if line.name == TRAINED:
            return "–"
        return "the same setting" if line.same else in_words(line.against[run])

    return [
        line.name,
        str(line.supported["greedy"]),
        against("greedy"),
        str(line.right),
        str(line.supported["sampled"]),
        against("sampled"),
        f"{line.turns:.2f}",
        f"{line.tokens:.1f}",
    ]


def _runs(results: Sequence[RivalFigures], name: str, run: str) -> list[Outcomes]:
    return [(r.greedy if run == "greedy" else r.sampled)[name] for r in results]


def _share(results: Sequence[RivalFigures], name: str, run: str, what: str) -> Interval:
    values = [bool(value) for found in _runs(results, name, run) for value in getattr(found, what)]
    return wilson(sum(values), len(values))


def _paired(results: Sequence[RivalFigures], name: str, run: str) -> Pairing:
    """A setting against `trained`, all seeds together."""
    ours = [float(v) for found in _runs(results, TRAINED, run) for v in found.supported]
    theirs = [float(v) for found in _runs(results, name, run) for v in found.supported]
    seeds = [r.seed for r, found in zip(results, _runs(results, name, run), strict=True) for _ in found.supported]
    return pair(ours, theirs, seeds, yes_or_no=True)
