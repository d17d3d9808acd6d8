"""The sections of the report on behaviour, grounding and misses, as escaped HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from visor_core.evaluation.behaviour import diagnoses_by, pages_of, table_rows
from visor_core.evaluation.results import BenchmarkResult
from visor_core.evaluation.statistics import Interval
from visor_core.evaluation.tables import figures_table
from visor_core.scoring.diagnosis import MISSES


def behaviour_html(results: Mapping[str, BenchmarkResult]) -> str:
    """A table with a row a measure and a column a result; measures that no result knows are left out."""
    columns = {label: table_rows(result.finished, seed=result.seed) for label, result in results.items()}
    rows = []
    for of_all in zip(*columns.values(), strict=True):
        group, words, _ = of_all[0]
        if any(figure is not None for _, _, figure in of_all):
            rows.append([escape(group), escape(words), *(_cell(figure) for _, _, figure in of_all)])
    note = "95 % intervals: Wilson's of shares, the bootstrap's of means; over the episodes where the figure is known."
    table = figures_table("Behaviour and grounding", ["of", "measure", *columns], rows, key=1, numbers=2)
    return f"{table}<p class=note>{note}</p>"


def misses_html(results: Mapping[str, BenchmarkResult]) -> str:
    """How many answers were missed for which reason: in all, by pages needed and by what the benchmark calls the kind
    of question; empty where none was judged."""
    rows = []
    for label, result in results.items():
        for kind, (scored, misses) in {
            **diagnoses_by(result.finished, lambda row: "all"),
            **diagnoses_by(result.finished, pages_of),
            **diagnoses_by([row for row in result.finished if row.kind], lambda row: row.kind),
        }.items():
            if misses:
                rows.append([escape(label), escape(kind), str(scored), *(str(misses[miss]) for miss in MISSES)])
    if not rows:
        return ""
    note = "Each miss counts once, for the first of these that holds; `visor debug QUESTION` shows one."
    table = figures_table("Misses", ["policy", "questions", "scored", *MISSES], rows, numbers=2)
    return f"{table}<p class=note>{escape(note)}</p>"


def _cell(figure: Interval | None) -> str:
    """An estimate with its limits and count, or a dash."""
    if figure is None:
        return "–"
    return f"{figure.estimate:.3f} <span class=range>{figure.low:.2f}–{figure.high:.2f}, {figure.count}</span>"
