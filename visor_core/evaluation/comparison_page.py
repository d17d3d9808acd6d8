"""A comparison as one HTML page: figures with intervals, paired tests, what differs, every question with its verdict.

Self-contained, no script but that of the list of questions. Published figures stand in a column of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape

from visor_core.agent.trajectory import Trajectory
from visor_core.evaluation.charts import IntervalRow, interval_chart
from visor_core.evaluation.comparison import Comparison, Item
from visor_core.evaluation.comparison_text import bounds, how_tested, shown, summary, system
from visor_core.evaluation.explorer import Cell, Column, explorer, script
from visor_core.evaluation.figures import RIGHT, SUPPORTED
from visor_core.evaluation.pairing import p_text
from visor_core.evaluation.published_figures import published_of
from visor_core.evaluation.question_rows import Places, outcome_of
from visor_core.evaluation.report_style import REPORT_STYLE
from visor_core.evaluation.tables import figures_table
from visor_core.trajectories.viewer_page import Link, page

GOOD, BAD = ("right", "won", "both right", "all right"), ("wrong", "lost", "none right", "failed", "no answer")


def comparison_html(
    comparison: Comparison,
    *,
    episodes: Mapping[str, Trajectory],
    places: Places,
    page_of: Callable[[Item], str] = lambda item: "",
    navigation: Sequence[Link] = (),
) -> str:
    """The page.

    Args:
        episodes: those that are kept, by trajectory id: they hold questions and expected answers.
        page_of: the address of the page that shows a question's episodes side by side; "" where there is none.
    """
    title = " against ".join(reversed(comparison.labels[:2])) if len(comparison.arms) == 2 else "Comparison"
    parts = [
        f'<div class="eyebrow">VISOR comparison</div><h1>{escape(title)}</h1>',
        f"<p class=sub>{escape(summary(comparison))}</p>",
        "<h2>Figures</h2>",
        _charts(comparison),
        _figures(comparison),
        f"<h2>Paired tests against {escape(comparison.labels[0])}</h2>",
        _tests(comparison),
        "<h2>What differs</h2>",
        _differences(comparison),
        "<h2>Questions</h2>",
        _verdicts(comparison),
        explorer("items", "Questions", _columns(comparison), _rows(comparison, episodes, places, page_of)),
        _published(comparison),
    ]
    return page(title, "".join(parts), style=REPORT_STYLE, script=script(), navigation=navigation)


def _charts(comparison: Comparison) -> str:
    charts = ""
    for found in comparison.figures:
        if found.figure in (RIGHT, SUPPORTED):
            rows = [IntervalRow(label, i) for label, i in zip(comparison.labels, found.intervals, strict=True)]
            name = found.figure.name
            chart = interval_chart(rows, label=f"{name} with 95 % intervals; the figures stand in the table below")
            charts += f"<figure><figcaption>{escape(_named(comparison, name))}</figcaption>{chart}</figure>"
    return f"<div class=charts>{charts}</div>"


def _named(comparison: Comparison, figure: str) -> str:
    """A figure's name, with the protocol where it follows it."""
    follows = figure in (RIGHT.name, "mean score", SUPPORTED.name, "shortcuts")
    return f"{figure} ({comparison.protocol})" if follows else figure


def _figures(comparison: Comparison) -> str:
    rows = [
        [
            escape(_named(comparison, found.figure.name)),
            *(escape(shown(found, number)) for number in range(len(comparison.arms))),
        ]
        for found in comparison.figures
    ]
    return figures_table("Figures", ["figure", *comparison.labels], rows)


def _tests(comparison: Comparison) -> str:
    many = len(comparison.arms) > 2
    names = ["result", "figure", "difference", "95 % interval", "p", *(["p by Holm"] if many else [])]
    rows = []
    for number, label in enumerate(comparison.labels[1:]):
        for found in comparison.figures:
            pairing, digits = found.pairings[number], found.figure.digits
            test = pairing.test
            if not test.count:
                continue
            unknown = test.low != test.low
            limits = "not known: no scatter" if unknown else f"{test.low:+,.{digits}f} to {test.high:+,.{digits}f}"
            cells = [
                f"{test.difference:+,.{digits}f}",
                limits + (" (too few)" if test.few else ""),
                p_text(pairing.p_value),
                *([p_text(pairing.corrected)] if many else []),
                f"{pairing.wins:,}",
                f"{pairing.losses:,}",
                f"{pairing.ties:,}",
            ]
            rows.append([escape(cell) for cell in (label, _named(comparison, found.figure.name), *cells)])
    table = figures_table("Paired tests", [*names, "higher", "lower", "equal"], rows, key=1, numbers=2)
    return f"{table}<p class=note>{escape(how_tested(comparison))}</p>"


def _differences(comparison: Comparison) -> str:
    if not comparison.differences:
        return "<p>Nothing that is recorded: same questions, index, settings, policy and scoring.</p>"
    rows = [[escape(cell) for cell in (found.name, *found.values)] for found in comparison.differences]
    return figures_table("What differs", ["what", *comparison.labels], rows)


def _verdicts(comparison: Comparison) -> str:
    counts = ", ".join(f"{name} {count:,}" for name, count in comparison.verdicts().items())
    second = comparison.labels[1]
    words = f"Won and lost are those of {second}. " if len(comparison.arms) == 2 else ""
    others = sum(item.disagrees for item in comparison.items)
    return f"<p>{escape(f'{counts}. {words}The answers disagree on {others:,}.')}</p>"


def _columns(comparison: Comparison) -> list[Column]:
    arms = [
        column
        for label in comparison.labels
        for column in (
            Column(f"{label}: answer"),
            Column(f"{label}: outcome", "chip", filter=True, good=GOOD, bad=BAD),
        )
    ]
    return [
        Column("question", wide=True),
        Column("expected"),
        Column("verdict", "chip", filter=True, good=GOOD, bad=BAD),
        Column("answers", "chip", filter=True),
        *arms,
        Column("benchmark"),
        Column("questions", "number"),
        Column("kind", filter=True),
        Column("pages needed", "number", filter=True),
        Column("seed", "number", filter=bool(comparison.seeds)),
        Column("gold pages", "links", wide=True),
        Column("episodes", "links"),
    ]


def _rows(
    comparison: Comparison,
    episodes: Mapping[str, Trajectory],
    places: Places,
    page_of: Callable[[Item], str],
) -> list[dict[str, Cell]]:
    asked = {
        str(known[0]): str(known[1])
        for result in comparison.arms[0].results
        for known in result.identity.get("questions", ())
    }
    return [
        {
            **_row(comparison, item, episodes, places, asked.get(item.key[1], item.key[1])),
            "episodes": [("side by side", address)] if (address := page_of(item)) else [],
        }
        for item in comparison.items
    ]


def _row(
    comparison: Comparison, item: Item, episodes: Mapping[str, Trajectory], places: Places, asked: str
) -> dict[str, Cell]:
    kept = (episodes.get(scored.row.trajectory_id) for scored in item.scored)
    episode = next((found for found in kept if found is not None), None)
    row = item.scored[0].row
    cells: dict[str, Cell] = {
        "question": episode.question.question if episode else asked,
        "expected": " | ".join(episode.question.answers) if episode else "",
        "verdict": item.verdict,
        "answers": "same" if item.same_answer else "other",
        "benchmark": comparison.benchmark,
        "questions": len(comparison.items),
        "kind": str(getattr(row, "kind", "") or ""),
        "pages needed": row.hops if row.answerable else None,
        "seed": item.key[0] if comparison.seeds else None,
        "gold pages": [(places.name_of(p), places.address_of(p)) for p in episode.question.gold_pages]
        if episode
        else [],
    }
    for label, scored in zip(comparison.labels, item.scored, strict=True):
        cells[f"{label}: answer"] = scored.row.answer
        right = scored.right
        said = (
            "right" if right else outcome_of(scored.row) if right is None or not scored.row.answer.strip() else "wrong"
        )
        cells[f"{label}: outcome"] = f"{said}, no evidence" if right and not scored.supported else said
    return cells


def _published(comparison: Comparison) -> str:
    """Ours and what others have published, each in a column of its own."""
    found = published_of(comparison.arms[0].results[0].benchmark)
    right = next((compared for compared in comparison.figures if compared.figure is RIGHT), None)
    if not found or right is None:
        return ""
    rows = []
    for label, interval in zip(comparison.labels, right.intervals, strict=True):
        percent = replace(interval, low=100 * interval.low, high=100 * interval.high)
        ours = f"{100 * interval.estimate:.1f} {bounds(percent, 1)}"
        cells = (label, RIGHT.name, ours, "", comparison.protocol, f"{interval.count:,} questions of this comparison")
        rows.append(cells)
    for figure in found:
        rows.append((system(figure), figure.figure, "", f"{figure.value:g}", figure.protocol, figure.source))
    note = "Protocols differ: a published figure is no figure of ours, and is tested against none."
    heads = ("system", "figure", "ours, %", "published", "protocol", "source")
    table = figures_table("Published figures", heads, [list(map(escape, row)) for row in rows])
    return f"<h2>Beside published figures</h2>{table}<p class=note>{note}</p>"


def _line(cells: Sequence[str]) -> str:
    first, *others = map(escape, cells)
    return f"<tr><th scope=row>{first}</th>{''.join(f'<td>{cell}</td>' for cell in others)}</tr>"
