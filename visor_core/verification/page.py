"""The curve of success against tokens as one self-contained page: no script, no network, every text escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from visor_core.evaluation.charts import SHARES, Series, line_chart
from visor_core.evaluation.report_style import REPORT_STYLE
from visor_core.evaluation.tables import figures_table
from visor_core.trajectories.viewer_page import page
from visor_core.verification.curve import Point


def curve_html(title: str, questions: int, points: Sequence[Point], doubt_auroc: float) -> str:
    """A chart of right answers over tokens a question (over episodes, where tokens are unknown), and its table."""
    by_tokens = all(point.tokens is not None for point in points)
    first = next(point for point in points if point.method == "first")

    def x(point: Point) -> float:
        return point.tokens if by_tokens and point.tokens is not None else point.episodes

    methods = dict.fromkeys(_line(point) for point in points if point.method != "first")
    lines = [
        Series(
            method,
            tuple(
                (x(point), point.right.estimate)
                for point in ([first] if method != "revise" else []) + [p for p in points if _line(p) == method]
            ),
        )
        for method in methods
    ]
    unit = "tokens a question" if by_tokens else "episodes a question"
    told = f"; doubt tells wrong answers from right ones with AUROC {doubt_auroc:.3f}"
    doubt = "" if math.isnan(doubt_auroc) else told
    rows = [
        [
            escape(point.method),
            f"{point.episodes:g}",
            "–" if point.tokens is None else format(point.tokens, ",.0f"),
            str(point.right),
            str(point.supported),
            f"{point.gain.difference:+.3f} [{point.gain.low:+.3f}, {point.gain.high:+.3f}]",
        ]
        for point in points
    ]
    heads = ("method", "episodes", "tokens", "answers right", "supported", "gain")
    table = figures_table("Figures", heads, rows, numbers=1)
    chart = line_chart(lines, x_label=unit, y_label="right answers", y_limits=SHARES)
    body = (
        f"<h1>{escape(title)}</h1><p class=sub>{questions} questions; all episodes drawn are paid for{doubt}</p>"
        f"<h2>Right answers</h2><figure>{chart}</figure>"
        f"<h2>Figures</h2>{table}"
    )
    return page(title, body, style=REPORT_STYLE)


def _line(point: Point) -> str:
    """The line a point lies on."""
    return point.method.split()[0]
