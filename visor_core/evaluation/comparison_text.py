"""A comparison as Markdown, for places that show text (Dagster, MLflow, model cards, terminals), and as JSON values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from visor_core.evaluation.comparison import Compared, Comparison
from visor_core.evaluation.figures import RIGHT, SCORE, SUPPORTED
from visor_core.evaluation.pairing import Pairing, in_words
from visor_core.evaluation.published_figures import PublishedFigure, published_of
from visor_core.evaluation.statistics import TOO_FEW, Interval

TESTED = (RIGHT.name, SCORE.name, SUPPORTED.name)
"""The figures whose tests short tables show."""


def summary(comparison: Comparison) -> str:
    """What was compared with what, over which questions, under which protocol, in one paragraph."""
    counts = ", ".join(f"{label} {n:,}" for label, n in zip(comparison.labels, comparison.asked, strict=True))
    parts = [f"{len(comparison.items):,} questions of {comparison.benchmark} that all have ({counts} asked)"]
    if comparison.failed:
        parts.append(f"{comparison.failed} left out because an episode failed")
    if comparison.reworded:
        parts.append(f"{comparison.reworded} left out because they were asked in other words")
    return f"{'; '.join(parts)}. Answers right by the protocol {comparison.protocol}. {how_tested(comparison)}"


def how_tested(comparison: Comparison) -> str:
    """How intervals and p-values were made."""
    first = comparison.labels[0]
    if comparison.seeds:
        tests = f"paired by question with the seed as cluster (seeds {', '.join(map(str, comparison.seeds))}; t test)"
    else:
        tests = "paired by question: intervals by bootstrap, p by McNemar's exact test for shares, by sign flips else"
    corrected = " Holm: corrected for the number of results compared with it." if len(comparison.arms) > 2 else ""
    return (
        f"Shares with Wilson's, means with bootstrap 95 % intervals. Differences are minus {first}, {tests}.{corrected}"
        " Figures are not corrected for their own number."
    )


def comparison_markdown(comparison: Comparison) -> str:
    """The figures of every arm, a row each, with the tests of the main ones, the verdicts, and what differs."""
    figures = {found.figure.name: found for found in comparison.figures}
    heads = ["figure", *comparison.labels]
    lines = [plain_cell(summary(comparison)), "", _row(heads), "|---" * len(heads) + "|"]
    for name, found in figures.items():
        lines.append(_row([name, *(shown(found, number) for number in range(len(comparison.arms)))]))
    lines += ["", _row(["against " + comparison.labels[0], *(n for n in TESTED if n in figures), "won", "lost"])]
    lines.append("|---" * (3 + sum(name in figures for name in TESTED)) + "|")
    for number, label in enumerate(comparison.labels[1:]):
        tests = [in_words(figures[name].pairings[number]) for name in TESTED if name in figures]
        right = figures[RIGHT.name].pairings[number] if RIGHT.name in figures else None
        lines.append(_row([label, *tests, *((str(right.wins), str(right.losses)) if right else ("–", "–"))]))
    if comparison.differences:
        lines += ["", _row(["differs", *comparison.labels]), "|---" * (1 + len(comparison.arms)) + "|"]
        lines += [_row([difference.name, *difference.values]) for difference in comparison.differences]
    return "\n".join(lines) + "\n"


def published_markdown(benchmark: str) -> str:
    """What others have published of a benchmark; "" if nothing is known."""
    found = published_of(benchmark)
    if not found:
        return ""
    heads = ("system", "figure", "published", "protocol", "source")
    rows = [_row([system(f), f.figure, f"{f.value:g}", f.protocol, f.source]) for f in found]
    return "\n".join([_row(heads), "|---" * len(heads) + "|", *rows]) + "\n"


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Everything a program needs of it: figures, tests, differences, and each question with its verdict."""
    return {
        "benchmark": comparison.benchmark,
        "protocol": comparison.protocol,
        "arms": [
            {"label": arm.label, "seeds": arm.seeds, "questions": count}
            for arm, count in zip(comparison.arms, comparison.asked, strict=True)
        ],
        "questions": len(comparison.items),
        "failed": comparison.failed,
        "reworded": comparison.reworded,
        "how_tested": how_tested(comparison),
        "verdicts": comparison.verdicts(),
        "figures": [_figure_json(found) for found in comparison.figures],
        "differences": [{"name": d.name, "values": list(d.values)} for d in comparison.differences],
        "items": [
            {
                "question_id": item.key[1],
                "seed": item.key[0],
                "verdict": item.verdict,
                "same_answer": item.same_answer,
                "answers": [scored.row.answer for scored in item.scored],
                "scores": [scored.score for scored in item.scored],
                "supported": [scored.supported for scored in item.scored],
                "trajectories": [scored.row.trajectory_id for scored in item.scored],
            }
            for item in comparison.items
        ],
        "published": [
            {"system": f.system, "backbone": f.backbone, "figure": f.figure, "value": f.value, "protocol": f.protocol,
             "source": f.source, "questions": f.questions or None}
            for f in published_of(comparison.arms[0].results[0].benchmark)
        ],
    }  # fmt: skip


def comparison_metrics(comparison: Comparison) -> dict[str, float]:
    """Flat figures for a tracker: every arm's, and its difference to the first with the p-value."""
    found: dict[str, float] = {"questions": float(len(comparison.items))}
    for compared in comparison.figures:
        name = compared.figure.key
        for number, (label, interval) in enumerate(zip(comparison.labels, compared.intervals, strict=True)):
            at = _metric(number, label)
            found[f"{at}/{name}"] = interval.estimate
            if number:
                pairing = compared.pairings[number - 1]
                found |= {
                    f"{at}/{name}_difference": pairing.test.difference,
                    f"{at}/{name}_p": pairing.p_value,
                    f"{at}/{name}_p_holm": pairing.corrected,
                }
    return {name: value for name, value in found.items() if not math.isnan(value)}


def shown(found: Compared, number: int) -> str:
    """A figure of an arm with its interval, and its seeds' own values."""
    interval, digits = found.intervals[number], found.figure.digits
    if math.isnan(interval.estimate):
        return "–"
    seeds = found.seeds[number]
    each = f" ({', '.join(f'{value:.{digits}f}' for value in seeds)})" if seeds else ""
    return f"{interval.estimate:,.{digits}f} {bounds(interval, digits)}{each}"


def bounds(interval: Interval, digits: int) -> str:
    """The limits of an interval at a figure's digits."""
    return f"[{interval.low:,.{digits}f}, {interval.high:,.{digits}f}]{TOO_FEW if interval.few else ''}"


def system(figure: PublishedFigure) -> str:
    """A published system with its backbone and the number of its questions."""
    about = [figure.backbone, f"{figure.questions:,} questions" if figure.questions else ""]
    told = ", ".join(part for part in about if part)
    return f"{figure.system} ({told})" if told else figure.system


def _metric(number: int, label: str) -> str:
    """An arm's name as MLflow takes it in a metric's."""
    plain = "".join(sign if sign.isalnum() or sign in "_-. " else "_" for sign in label)
    return f"{number} {plain}"[:80]


def _figure_json(found: Compared) -> dict[str, Any]:
    return {
        "name": found.figure.name,
        "key": found.figure.key,
        "better": found.figure.better,
        "arms": [
            {"estimate": _known(i.estimate), "low": _known(i.low), "high": _known(i.high), "count": i.count,
             "few": i.few, "seeds": [_known(v) for v in seeds]}
            for i, seeds in zip(found.intervals, found.seeds, strict=True)
        ],
        "against_first": [_pairing_json(pairing) for pairing in found.pairings],
    }  # fmt: skip


def _pairing_json(pairing: Pairing) -> dict[str, Any]:
    test = pairing.test
    return {
        "difference": _known(test.difference),
        "low": _known(test.low),
        "high": _known(test.high),
        "p": _known(test.p_value),
        "mcnemar": _known(pairing.mcnemar),
        "holm": _known(pairing.corrected),
        "count": test.count,
        "clusters": test.clusters,
        "wins": pairing.wins,
        "losses": pairing.losses,
        "ties": pairing.ties,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _row(cells: Sequence[str]) -> str:
    """A line of a Markdown table; what a cell holds ends neither it nor the line, nor becomes markup."""
    return f"| {' | '.join(map(plain_cell, cells))} |"


def plain_cell(text: str) -> str:
    """Text as a cell of a Markdown table that shows it as it is."""
    flat = " ".join(text.split()).replace("\\", "\\\\")
    for sign in "|`*[]<>":
        flat = flat.replace(sign, {"<": "&lt;", ">": "&gt;"}.get(sign, f"\\{sign}"))
    return flat
