"""The sections of the report on behaviour, grounding and misses, as escaped HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from visor_core.evaluation.behaviour import diagnoses_by, pages_of, table_rows
from visor_core.evaluation.results import BenchmarkResult
from visor_core.evaluation.statistics import Interval
from visor_core.scoring.diagnosis import MISSES
from visor_core.trajectories.viewer_page import scrolled


def behaviour_html(results: Mapping[str, BenchmarkResult]) -> str:
    """A table with a row a measure and a column a result; measures that no result knows are left out."""
    columns = {label: table_rows(result.finished, seed=result.seed) for label, result in results.items()}
    rows = []
    for of_all in zip(*columns.values(), strict=True):
        group, words, _ = of_all[0]
        if any(figure is not None for _, _, figure in of_all):
            cells = "".join(f"<td class=n>{_cell(figure)}</td>" for _, _, figure in of_all)
            rows.append(f"<tr><td>{escape(group)}</td><th scope=row>{escape(words)}</th>{cells}</tr>")
    head = "".join(f"<th scope=col class=n>{escape(label)}" for label in columns)
    note = "95 % intervals: Wilson's of shares, the bootstrap's of means; over the episodes where the figure is known."
    table = f"<table class=figures><tr><th scope=col>of<th scope=col>measure{head}</tr>{''.join(rows)}</table>"
    return f"{scrolled(table, 'Behaviour and grounding')}<p class=note>{note}</p>"


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
                cells = "".join(f"<td class=n>{misses[miss]}</td>" for miss in MISSES)
                name = f"<th scope=row>{escape(label)}</th><td>{escape(kind)}</td>"
                rows.append(f"<tr>{name}<td class=n>{scored}</td>{cells}</tr>")
    if not rows:
        return ""
    head = "".join(f"<th scope=col class=n>{escape(miss)}" for miss in ("scored", *MISSES))
    note = "Each miss counts once, for the first of these that holds; `visor debug QUESTION` shows one."
    table = f"<table class=figures><tr><th scope=col>policy<th scope=col>questions{head}</tr>{''.join(rows)}</table>"
    return f"{scrolled(table, 'Misses')}<p class=note>{escape(note)}</p>"


def _cell(figure: Interval | None) -> str:
    """An estimate with its limits and count, or a dash."""
    if figure is None:
        return "–"
    return f"{figure.estimate:.3f} <span class=range>{figure.low:.2f}–{figure.high:.2f}, {figure.count}</span>"
