"""Line and interval charts as inline SVG: what pages draw figures with, without a plotting library or a script.

Colours come from the page's style sheet (`.series-0` …), so that a chart follows a light or dark page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from textwrap import wrap

from visor_core.evaluation.statistics import Interval

WIDTH, HEIGHT = 460, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 34
_ROW, _LINE, _NAME = 20, 15, 70


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name and its points (x, y); points that are not finite are left out.

    `limits` are intervals as (x, low, high), drawn as bars.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    limits: tuple[tuple[float, float, float], ...] = ()


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that span [low, high]: steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    rough = span / max(1, wanted - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


SHARES = (0.0, 1.0)
"""The axis of shares: whole, so that curves compare, and none shows a share that cannot be."""


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str = "step",
    y_label: str = "",
    y_limits: tuple[float, float] | None = None,
) -> str:
    """An SVG element with axes, ticks, one line a series and a legend; a note where nothing can be drawn.

    Args:
        y_limits: ends of the y axis (`SHARES`), instead of those that the values have.
    """
    drawn = [
        replace(s, points=tuple(p for p in s.points if math.isfinite(p[0]) and math.isfinite(p[1]))) for s in series
    ]
    drawn = [s for s in drawn if s.points]
    if not drawn:
        return "<p class=note>no points recorded</p>"
    xs = [x for s in drawn for x, _ in s.points]
    ys = [y for s in drawn for _, y in s.points] + [y for s in drawn for _, *ends in s.limits for y in ends]
    x0, x1 = _range(min(xs), max(xs))
    y0, y1 = y_limits or _range(min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - x0) / (x1 - x0) * (WIDTH - _LEFT - _RIGHT),
            HEIGHT - _BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - _TOP - _BOTTOM),
        )

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_label or x_label, quote=True)}">']
    for y in ticks(y0, y1) if y_limits else _ticks(ys):
        _, py = place(x0, y)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{py:.1f}" y2="{py:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in _ticks(xs):
        px, _ = place(x, y0)
        parts.append(f'<text x="{px:.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{x:g}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{escape(x_label)}</text>')
    for number, line in enumerate(drawn):
        for x, low, high in line.limits:
            (px, bottom), (_, top) = place(x, low), place(x, high)
            px += 3 * number  # side by side where lines share their degrees
            parts.append(
                f'<line class="series-{number % 6}" x1="{px:.1f}" x2="{px:.1f}" y1="{bottom:.1f}" y2="{top:.1f}"/>'
            )
        placed = " ".join(f"{px:.1f},{py:.1f}" for px, py in (place(*p) for p in line.points))
        if len(line.points) == 1:
            px, py = place(*line.points[0])
            parts.append(f'<circle class="series-{number % 6} dot" cx="{px:.1f}" cy="{py:.1f}" r="3"/>')
        else:
            parts.append(f'<polyline class="series-{number % 6}" points="{placed}"/>')
    parts.append("</svg>")
    legend = "".join(
        f'<span><i class="series-{number % 6}"></i>{escape(line.name)}</span>' for number, line in enumerate(drawn)
    )
    return "".join(parts) + f"<div class=legend>{legend}</div>"


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One row of an interval chart: what was estimated, and the estimate."""

    name: str
    interval: Interval


def interval_chart(rows: Sequence[IntervalRow], *, label: str, low: float = 0.0, high: float = 1.0) -> str:
    """An SVG element with a dot and its interval a row, over the range [low, high]; rows without an estimate say so.

    Args:
        label: what the chart shows, for who cannot see it; the figures themselves stand in a table beside it.
    """
    names = [wrap(row.name, _NAME, break_on_hyphens=False) or [""] for row in rows]
    height = _TOP + sum(_LINE * len(lines) + _ROW for lines in names) + _BOTTOM
    left = 2 * _RIGHT

    def place(x: float) -> float:
        return left + (min(max(x, low), high) - low) / (high - low) * (WIDTH - left - _RIGHT)

    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label, quote=True)}">']
    for x in ticks(low, high):
        parts.append(
            f'<line class="grid" x1="{place(x):.1f}" x2="{place(x):.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>'
        )
        parts.append(f'<text x="{place(x):.1f}" y="{height - _BOTTOM + 16}" text-anchor="middle">{x:g}</text>')
    y: float = _TOP
    for row, lines in zip(rows, names, strict=True):
        for line in lines:
            y += _LINE
            parts.append(f'<text x="0" y="{y - 3:.1f}">{escape(line)}</text>')
        shown, middle = row.interval, y + _ROW / 2
        y += _ROW
        if math.isnan(shown.estimate):
            parts.append(f'<text x="{left + 6}" y="{middle + 4:.1f}">not known</text>')
            continue
        ends = f'x1="{place(shown.low):.1f}" x2="{place(shown.high):.1f}"'
        parts.append(f'<line class="series-0" {ends} y1="{middle:.1f}" y2="{middle:.1f}" stroke-width="3"/>')
        parts.append(f'<circle class="series-0 dot" cx="{place(shown.estimate):.1f}" cy="{middle:.1f}" r="4.5"/>')
    return "".join([*parts, "</svg>"])


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers that span values; the value itself where there is one only, whose surroundings say nothing."""
    return ticks(min(values), max(values))


def _range(low: float, high: float) -> tuple[float, float]:
    """A range with some air; a single value gets a range of its own."""
    if low == high:
        air = abs(low) * 0.1 or 1.0
        return low - air, high + air
    return low, high
