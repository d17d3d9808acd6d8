"""The HTML pages of a stress and of a counterfactual measurement: figures, charts, rows. One file, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from visor_core.evaluation.benchmarks.resolve import LeftOut, count_reasons
from visor_core.evaluation.charts import SHARES, Series, line_chart
from visor_core.evaluation.report_style import REPORT_STYLE
from visor_core.evaluation.statistics import Interval
from visor_core.evaluation.tables import figures_table
from visor_core.files import write_text
from visor_core.stress.counterfactuals import OUTCOMES, Faithfulness, Row
from visor_core.stress.curves import Curve, Point, told
from visor_core.trajectories.viewer_page import page

_LISTED = 200
"""Questions left out that are listed; the JSON names all."""


def write_curve(path: Path, curve: Curve) -> Path:
    """Write a stress as a page; returns the path."""
    title = f"Stress: {curve.kind}"
    parts = [
        f"<h1>{escape(title)}</h1><p class=sub>{escape(_subject(curve.policy, curve.checkpoint))}, "
        f"{escape(curve.benchmark)} on corpus {escape(curve.corpus)}, answers scored by the rule {escape(curve.rule)}; "
        "95 % Wilson intervals</p>"
    ]
    charted = {"answers right": [point.right for point in curve.points]}
    charted["supported"] = [point.supported for point in curve.points]
    charted["gold pages found"] = [point.found for point in curve.points]
    if any(point.obeyed for point in curve.points):
        charted["orders obeyed"] = [point.obeyed or Interval(float("nan"), 0.0, 1.0, 0) for point in curve.points]
    lines = [_line(name, curve.points, intervals) for name, intervals in charted.items()]
    told_by = f"{', '.join(charted)} by {curve.label}"
    chart = line_chart(lines, x_label=curve.label, y_label=told_by, y_limits=SHARES)
    parts.append(f"<figure><figcaption>Share of the questions by {escape(curve.label)}</figcaption>{chart}</figure>")
    parts.append(_figures(curve.points))
    parts.append(_unedited(curve.points))
    parts.append(_left_out(curve.left_out))
    write_text(path, page(title, "".join(parts), style=REPORT_STYLE))
    return path


def write_faithfulness(path: Path, found: Faithfulness) -> Path:
    """Write a counterfactual measurement as a page; returns the path."""
    title = "Counterfactuals"
    subject = (
        f"{_subject(found.policy, found.checkpoint)}, {found.benchmark} on corpus {found.corpus}, changed in "
        f"{found.changed_corpus}; answers scored by the rule {found.rule}; 95 % Wilson intervals"
        if found.rows
        else f"corpus {found.corpus}; no question could be changed, so nothing was asked: the reasons stand below"
    )
    parts = [
        f"<h1>{escape(title)}</h1><p class=sub>{escape(subject)}</p>",
        f"<p>Of {found.considered} questions {found.answerable} can be answered; the answer of {found.located} was "
        f"located and of {len(found.rows)} changed and verified ({escape(told(found.coverage, '–'))} of the "
        "answerable). "
        f"{len(found.right)} were answered right on the original.</p>",
    ]
    lines = [("all", ""), *((name, name) for name in found.formats)]
    shares = [[label, *(told(found.share(outcome, name), "–") for outcome in OUTCOMES)] for label, name in lines]
    parts.append(_table("Figures", ("answer format", *OUTCOMES), shares, numbers=1))
    rows = [(r.question, r.old, r.new, r.answer_before, r.answer_after, _outcome(r)) for r in found.rows]
    names = ("question", "gold", "new gold", "answer", "answer on the changed documents", "outcome")
    parts.append("<h2>Questions</h2>" + _table("Questions", names, rows))
    parts.append(_left_out(found.left_out))
    write_text(path, page(title, "".join(parts), style=REPORT_STYLE))
    return path


def _outcome(row: Row) -> str:
    """What became of a question."""
    return row.outcome or ("not finished" if row.right_before else "wrong before")


def _subject(policy: str, checkpoint: str) -> str:
    return f"{policy} ({checkpoint})" if checkpoint and checkpoint != policy else policy


def _line(name: str, points: Sequence[Point], intervals: Sequence[Interval]) -> Series:
    pairs = [(point.x, interval) for point, interval in zip(points, intervals, strict=True) if interval.count]
    return Series(name, tuple((x, i.estimate) for x, i in pairs), limits=tuple((x, i.low, i.high) for x, i in pairs))


def _figures(points: Sequence[Point]) -> str:
    names = (
        *("condition", "questions", "failed", "answers right", "supported", "gold pages found", "orders obeyed"),
        "turns",
    )
    rows = [
        (
            point.name,
            str(point.questions),
            str(point.failed),
            told(point.right),
            told(point.supported),
            told(point.found, "–"),
            told(point.obeyed, "–"),
            f"{point.turns:.2f}",
        )
        for point in points
    ]
    return _table("Figures", names, rows, numbers=1)


def _unedited(points: Sequence[Point]) -> str:
    rows = [(point.name, name, reason) for point in points for name, reason in point.unedited.items()]
    title = "Documents that could not be changed"
    return f"<h2>{title}</h2>{_table(title, ('condition', 'document', 'reason'), rows)}" if rows else ""


def _left_out(left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return ""
    counts = ", ".join(f"{reason} {count}" for reason, count in count_reasons(left_out).items())
    rows = [(item.item, item.reason, item.detail) for item in left_out[:_LISTED]]
    table = _table("Questions left out", ("question", "reason", "what is the case"), rows)
    return (
        f"<h2>Questions left out</h2><details class=part><summary>{len(left_out)} left out ({escape(counts)})</summary>"
        f"{table}</details>"
    )


def _table(name: str, heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int | None = None) -> str:
    return figures_table(name, heads, [list(map(escape, row)) for row in rows], numbers=numbers)
