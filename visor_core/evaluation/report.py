"""The HTML report of a run or an evaluation: stages, figures with intervals, curves, sample episodes.

One self-contained file: no script, no network, every text escaped. It shows what it is given; gathering is the
caller's work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from visor_core.evaluation.behaviour_section import behaviour_html, misses_html
from visor_core.evaluation.charts import Series, line_chart
from visor_core.evaluation.results import BenchmarkResult, scoring_version
from visor_core.evaluation.statistics import TOO_FEW, Interval
from visor_core.files import write_text

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #d9dce1; --paper: #fff; --tint: #f4f5f7;
  --c0: #2459a9; --c1: #c2571a; --c2: #2b8a57; --c3: #8a3ea8; --c4: #a08400; --c5: #b0304f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a0a6ae; --line: #3a3f46; --paper: #16181b;
  --tint: #1f2226; --c0: #7fb0f5; --c1: #f0995c; --c2: #6cc795; --c3: #c78be0; --c4: #d6bd4a; --c5: #ee7f98; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1060px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.note, figcaption, .sub { color: var(--soft); } .sub { margin: .2rem 0 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } td:first-child { white-space: nowrap; }
td.n, th.n { text-align: right; white-space: nowrap; }
.range { color: var(--soft); font-size: .85em; white-space: nowrap; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 1.2rem; }
figure { margin: 0; } svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--soft); }
.grid { stroke: var(--line); stroke-width: 1; } polyline { fill: none; stroke-width: 1.8; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .85em; color: var(--soft); }
.legend i { display: inline-block; width: .9em; height: .25em; margin-right: .4em; vertical-align: middle; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; background: var(--tint); }
summary { padding: .5rem .8rem; cursor: pointer; } iframe { width: 100%; height: 900px; border: 0; background: #fff; }
code { background: var(--tint); padding: .1em .3em; border-radius: 3px; }
""" + "".join(
    f".series-{i} {{ stroke: var(--c{i}); }} i.series-{i}, .dot.series-{i} {{ background: var(--c{i}); "
    f"fill: var(--c{i}); }}"
    for i in range(6)
)


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
    curves: Sequence[Curve] = ()
    episodes: Sequence[SampleEpisode] = ()
    notes: Sequence[str] = ()


def report_html(report: Report) -> str:
    """The report as one HTML document."""
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{escape(report.title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(report.title)}</h1><p class=sub>{escape(report.subtitle)}</p>",
    ]
    if report.stages:
        parts.append("<h2>Stages</h2>" + _stages(report.stages))
    if report.results:
        parts.append("<h2>Results</h2>" + _results(report.results))
        parts.append("<h2>By number of pages needed</h2>" + _strata(report.results))
        parts.append("<h2>Behaviour and grounding</h2>" + behaviour_html(report.results))
        if misses := misses_html(report.results):
            parts.append("<h2>What went wrong</h2>" + misses)
        if left_out := _left_out(report.results):
            parts.append("<h2>Questions left out</h2>" + left_out)
    if report.curves:
        parts.append("<h2>Curves</h2><div class=charts>")
        for curve in report.curves:
            chart = line_chart(curve.series, x_label=curve.x_label, y_label=curve.caption)
            parts.append(f"<figure><figcaption>{escape(curve.caption)}</figcaption>{chart}</figure>")
        parts.append("</div>")
    if report.episodes:
        parts.append("<h2>Sample episodes</h2>")
        for episode in report.episodes:
            frame = f'<iframe sandbox="" loading="lazy" srcdoc="{escape(episode.html, quote=True)}"></iframe>'
            parts.append(f"<details><summary>{escape(episode.title)}</summary>{frame}</details>")
    if report.notes:
        parts.append("<h2>Notes</h2>" + "".join(f"<p class=note>{escape(note)}</p>" for note in report.notes))
    return "".join([*parts, "</body></html>"])


def write_report(path: Path, report: Report) -> Path:
    """Write the report by an atomic rename; returns the path."""
    write_text(path, report_html(report))
    return path


def _stages(stages: Sequence[Stage]) -> str:
    rows = []
    for stage in stages:
        seconds = "" if stage.seconds is None else f"{stage.seconds:,.1f}"
        figures = " · ".join(f"{escape(name)} {escape(value)}" for name, value in stage.figures.items())
        rows.append(f"<tr><td>{escape(stage.name)}</td><td class=n>{seconds}</td><td>{figures}</td></tr>")
    total = sum(stage.seconds or 0.0 for stage in stages)
    rows.append(f"<tr><th>all</th><th class=n>{total:,.1f}</th><th></th></tr>")
    return f"<table><tr><th>stage<th class=n>seconds<th>key figures</tr>{''.join(rows)}</table>"


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
        lines.append((label, cells))
    header = "".join(f"<th class=n>{escape(name)}" for name in lines[0][1])
    body = "".join(
        f"<tr><td>{escape(label)}</td>{''.join(f'<td class=n>{cell}</td>' for cell in cells.values())}</tr>"
        for label, cells in lines
    )
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
    rules = "".join(f"<br>{escape(label)}: {escape(r.rule_in_words())}." for label, r in results.items())
    return f"<table><tr><th>policy{header}</tr>{body}</table><p class=note>{caption}{rules}</p>{remarks}"


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
    for label, result in results.items():
        if not result.left_out:
            continue
        counts = ", ".join(f"{escape(reason)} {count}" for reason, count in result.left_out_by_reason.items())
        rows = "".join(f"<tr><td>{escape(i.item)}<td>{escape(i.reason)}<td>{escape(i.detail)}" for i in result.left_out)
        parts.append(
            f"<details><summary>{escape(label)}: {len(result.left_out)} left out ({counts})</summary>"
            f"<table><tr><th>item<th>reason<th>what is the case{rows}</table></details>"
        )
    return "".join(parts)


def _strata(results: Mapping[str, BenchmarkResult]) -> str:
    rows = []
    for label, result in results.items():
        for hops, stratum in result.by_hops().items():
            right, supported = stratum["right"], stratum["supported"]
            cells = (str(hops), str(right.count), _interval(right), _interval(supported))
            figures = "".join(f"<td class=n>{cell}</td>" for cell in cells)
            rows.append(f"<tr><td>{escape(label)}</td>{figures}</tr>")
    head = "<tr><th>policy<th class=n>pages<th class=n>questions<th class=n>answers right<th class=n>supported</tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _interval(interval: Interval) -> str:
    if math.isnan(interval.estimate):
        return "–"
    few = TOO_FEW if interval.few else ""
    return f"{interval.estimate:.3f} <span class=range>{interval.low:.2f}–{interval.high:.2f}{few}</span>"


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"
