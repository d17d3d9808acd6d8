"""The HTML report of a home: stages, figures with intervals, every question with its answer, curves, sample episodes.

One self-contained file: no network, no script but its own for the list of questions, every text escaped. It shows what
it is given; gathering is the caller's work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from visor_core.evaluation.behaviour_section import behaviour_html, misses_html
from visor_core.evaluation.charts import Series, line_chart
from visor_core.evaluation.explorer import Cell, explorer, script
from visor_core.evaluation.question_rows import COLUMNS
from visor_core.evaluation.report_style import REPORT_STYLE
from visor_core.evaluation.results import BenchmarkResult, scoring_version
from visor_core.evaluation.statistics import TOO_FEW, Interval
from visor_core.evaluation.tables import figures_table
from visor_core.evaluation.verdicts import RULE, ProtocolScores, protocols_in_words
from visor_core.files import write_text
from visor_core.trajectories.viewer_page import anchor, page


@dataclass(frozen=True)
class Stage:
    """One stage of a run: how long it took and its key figures, as text."""

    name: str
    seconds: float | None = None
    figures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """One chart: a caption and its lines."""

    caption: str
    series: tuple[Series, ...]
    x_label: str = "step"


@dataclass(frozen=True)
class SampleEpisode:
    """A page of the episode viewer, shown folded under its title."""

    title: str
    html: str


@dataclass(frozen=True)
class Report:
    """Everything a report shows; empty parts are left out."""

    title: str
    subtitle: str = ""
    stages: Sequence[Stage] = ()
    results: Mapping[str, BenchmarkResult] = field(default_factory=dict)
    questions: Sequence[Mapping[str, Cell]] = ()
    """A row an episode (`question_rows`)."""
    gallery: str = ""
    """The address of the gallery of the episodes that have a page; "" if none have."""
    curves: Sequence[Curve] = ()
    episodes: Sequence[SampleEpisode] = ()
    notes: Sequence[str] = ()
    unread: Sequence[str] = ()
    """A line for each result or store of episodes that could not be read."""


def report_html(report: Report) -> str:
    """The report as one HTML document."""
    parts = [f"<h1>{escape(report.title)}</h1><p class=sub>{escape(report.subtitle)}</p>"]
    if report.results:
        parts.append("<h2>Results</h2>" + _results(report.results))
        parts.append("<h2>By number of pages needed</h2>" + _strata(report.results))
        parts.append("<h2>Behaviour and grounding</h2>" + behaviour_html(report.results))
        if misses := misses_html(report.results):
            parts.append("<h2>What went wrong</h2>" + misses)
        if left_out := _left_out(report.results):
            parts.append("<h2>Questions left out</h2>" + left_out)
    if report.questions:
        parts.append("<h2>Questions</h2>" + _questions(report))
    if report.curves:
        parts.append("<h2>Curves</h2><div class=charts>")
        for curve in report.curves:
            chart = line_chart(curve.series, x_label=curve.x_label, y_label=curve.caption)
            parts.append(f"<figure><figcaption>{escape(curve.caption)}</figcaption>{chart}</figure>")
        parts.append("</div>")
    if report.episodes:
        parts.append("<h2>Sample episodes</h2>")
        for episode in report.episodes:
            title = escape(episode.title)
            frame = (
                f'<iframe sandbox="" loading="lazy" title="{escape(episode.title, quote=True)}" '
                f'srcdoc="{escape(episode.html, quote=True)}"></iframe>'
            )
            parts.append(f"<details class=part><summary>{title}</summary>{frame}</details>")
    if report.stages:
        parts.append("<h2>Stages</h2>" + _stages(report.stages))
    if notes := [*report.unread, *report.notes]:
        parts.append("<h2>Notes</h2>" + "".join(f"<p class=note>{escape(note)}</p>" for note in notes))
    return page(report.title, "".join(parts), style=REPORT_STYLE, script=script() if report.questions else "")


def _questions(report: Report) -> str:
    gallery = f"<p>{anchor('Gallery of the episodes that have a page', report.gallery)}</p>" if report.gallery else ""
    return gallery + explorer("questions", "Questions", COLUMNS, report.questions)


def write_report(path: Path, report: Report) -> Path:
    """Write the report by an atomic rename; returns the path."""
    write_text(path, report_html(report))
    return path


def _stages(stages: Sequence[Stage]) -> str:
    rows = []
    for stage in stages:
        seconds = "" if stage.seconds is None else f"{stage.seconds:,.1f}"
        figures = " · ".join(f"{escape(name)} {escape(value)}" for name, value in stage.figures.items())
        rows.append([escape(stage.name), figures, seconds])
    total = sum(stage.seconds or 0.0 for stage in stages)
    rows.append(["all", "", f"{total:,.1f}"])
    return figures_table("Stages", ["stage", "key figures", "seconds"], rows, numbers=2)


def _results(results: Mapping[str, BenchmarkResult]) -> str:
    lines: list[tuple[str, dict[str, str]]] = []
    some_failed = any(result.failed for result in results.values())
    for label, result in results.items():
        figures = result.metrics()
        apart = (
            {
                "failed": result.failures,
                "right of all": _interval(result.right_of_all) if result.scored else result.rule,
            }
            if some_failed
            else {}
        )
        cells = {
            "benchmark": escape(f"{result.benchmark} {result.split}".strip()),
            "questions": f"{len(result.episodes):,}",
            **apart,
            "answers right": _interval(result.answers_right) if result.scored else result.rule,
            "supported": _interval(result.supported_success) if result.scored else result.rule,
            "shortcuts": _interval(result.shortcut_rate) if result.scored else result.rule,
            "page recall": _number(figures["page_recall"]),
            "turns": _number(figures["turns"], 2),
            "tokens a turn": _number(figures.get("prompt_tokens_per_turn", math.nan), 1),
            "image tokens": _number(figures.get("image_tokens_per_turn", math.nan), 1),
            "tokens out": _number(figures.get("completion_tokens_per_turn", math.nan), 1),
            "seconds": _number(figures["seconds_per_episode"], 2),
        }
        lines.append((label, {"protocol": RULE, **cells}))
        for scores in result.protocols:
            lines.append((label, _protocol_cells(scores, cells)))
    sets = {
        f"{len(r.episodes)} questions of {r.benchmark}{' ' + r.split if r.split else ''}, index {r.index_tag}"
        for r in results.values()
    }
    caption = (
        f"{escape('; '.join(sorted(sets)))}. 95 % Wilson intervals. Supported: the answer is right and all evidence was"
        " recorded. Shortcut: the answer is right without it."
    )
    if some_failed:
        caption += " Figures are over the episodes that did not fail; of all: a failed one counts as wrong."
    remarks = "".join(f"<p class=note>{escape(remark)}</p>" for remark in _remarks(results))
    rules = "".join(
        f"<br>{escape(label)}: {escape(line)}." for label, r in results.items() for line in protocols_in_words(r)
    )
    rows = [[escape(label), *cells.values()] for label, cells in lines]
    table = figures_table("Results", ["policy", *lines[0][1]], rows, numbers=1)
    return f"{table}<p class=note>{caption}{rules}</p>{remarks}"


def _protocol_cells(scores: ProtocolScores, cells: Mapping[str, str]) -> dict[str, str]:
    """The row of a protocol other than the rule: what it says of the answers; how they came to be stands above."""
    own = {
        "benchmark": cells["benchmark"],
        "questions": cells["questions"],
        "failed": f"{scores.failed} of {len(scores.verdicts)} verdicts",
        "answers right": _interval(scores.right),
        "supported": _interval(scores.supported),
        "shortcuts": _number(scores.right.estimate - scores.supported.estimate),
    }
    return {"protocol": escape(f"{scores.name} ({scores.model})"), **{name: own.get(name, "") for name in cells}}


def _remarks(results: Mapping[str, BenchmarkResult]) -> list[str]:
    """What a reader of the figures has to know: results of another scoring, and servers that changed meanwhile."""
    remarks = []
    others = [label for label, result in results.items() if result.scoring != scoring_version()]
    if others:
        remarks.append(
            f"Scored by another version than this one: {', '.join(others)}. The same `visor eval` scores the episodes"
            " it has kept again, and plays none."
        )
    changed = [label for label, result in results.items() if len(result.fingerprints) > 1]
    if changed:
        remarks.append(f"The server changed while it was asked (system_fingerprint): {', '.join(changed)}.")
    return remarks


def _left_out(results: Mapping[str, BenchmarkResult]) -> str:
    """Items of benchmark files that could not be used: counts by reason, and each with what is the case."""
    parts = []
    heads = ("item", "reason", "what is the case")
    for label, result in results.items():
        if not result.left_out:
            continue
        counts = ", ".join(f"{escape(reason)} {count}" for reason, count in result.left_out_by_reason.items())
        rows = [[escape(i.item), escape(i.reason), escape(i.detail)] for i in result.left_out]
        parts.append(
            f"<details class=part><summary>{escape(label)}: {len(result.left_out)} left out ({counts})</summary>"
            + figures_table(f"Left out of {label}", heads, rows)
            + "</details>"
        )
    return "".join(parts)


def _strata(results: Mapping[str, BenchmarkResult]) -> str:
    rows = []
    for label, result in results.items():
        for pages, stratum in result.by_pages().items():
            right, supported = stratum["right"], stratum["supported"]
            cells = (label, result.benchmark, pages, str(right.count))
            rows.append([*map(escape, cells), _interval(right), _interval(supported)])
    heads = ("policy", "benchmark", "pages needed", "questions", "answers right", "supported")
    return figures_table("By number of pages needed", heads, rows, numbers=3)


def _interval(interval: Interval) -> str:
    if math.isnan(interval.estimate):
        return "–"
    few = TOO_FEW if interval.few else ""
    return f"{interval.estimate:.3f} <span class=range>{interval.low:.2f}–{interval.high:.2f}{few}</span>"


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"
