"""`visor compare`: evaluations held against each other on the questions they share, as a page, JSON and in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from pipelines.cli.asking import SETTINGS
from pipelines.cli.session import console, document_settings, errors, home_of, note, print_table
from visor_core.errors import DataError
from visor_core.files import file_name

if TYPE_CHECKING:
    from pipelines.result_names import NamedResult
    from visor_core.config import Home
    from visor_core.evaluation.comparison import Arm, Comparison


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(compare)


def compare(
    context: typer.Context,
    results: list[str] = typer.Argument(
        ...,
        metavar="A B …",
        help="Results by label, file, checkpoint or MLflow run; A,B,C (or NAME=A,B,C) is one result a seed.",
    ),
    protocol: str = typer.Option(
        "rule",
        "--protocol",
        help="How answers were scored: rule, judge, official, …; of several judges the one who judged all results, or"
        " the one named, as 'judge (MODEL)'.",
    ),
    output: Path | None = typer.Option(None, help="Folder to write.", show_default="VISOR_HOME/reports/compare-…"),
    pages: int = typer.Option(
        100, "--pages", min=0, help="Questions that get a page with their episodes side by side, won and lost first."
    ),
    track: bool = typer.Option(True, "--mlflow/--no-mlflow", help="Whether the comparison becomes a run in MLflow."),
    profile: str = typer.Option("", "--profile", help="Profile with the passwords of encrypted documents."),
    settings: list[str] = SETTINGS,
) -> None:
    """Compare evaluations with the first of them: intervals, paired tests, who won which question, what differs.

    Only questions that all results have are compared; results of different question sets are refused.
    """
    from pipelines.comparing import write_comparison
    from visor_core.evaluation.comparison import compare as compare_arms

    home, settled = home_of(context), document_settings(profile, settings)
    arms, named = arms_of(home, results)
    compared = compare_arms(arms, protocol)
    written = write_comparison(
        compared,
        list({found.home.root: found.home for found in named}.values()),
        output or home.reports / file_name(f"compare-{'-'.join(compared.labels)}", protocol, ""),
        documents=settled.documents,
        pages=pages,
    )
    print_table(_table(compared))
    for line in written.unreadable:
        errors.print(line, markup=False, soft_wrap=True)
    if written.pages < written.disagreements:
        console.print(
            f"{written.pages} of {written.disagreements} questions on which answers disagree have a page; --pages N"
            " writes more",
            soft_wrap=True,
        )
    console.print(f"comparison: {written.page}", markup=False, soft_wrap=True)
    if track:
        from pipelines.cli.tracking import track_comparison

        made_under = next((found.profile for found in named if found.profile), settled.name)
        track_comparison(home, settled.model_copy(update={"name": made_under}), compared, written.files)


def arms_of(home: Home, results: list[str]) -> tuple[list[Arm], list[NamedResult]]:
    """What the arguments mean: an arm each, and all results behind them.

    Raises:
        DataError: if there are fewer than two, or one is unknown or could be several.
    """
    from pipelines.result_names import ResultNames
    from visor_core.evaluation.comparison import Arm

    if len(results) < 2:
        raise DataError("a comparison needs two results at least: `visor compare A B`")
    names = ResultNames(home, lambda line: note([line]))
    found = [names.arm(given) for given in results]
    labels = _unique([label for label, _ in found])
    arms = [Arm(label, tuple(one.result for one in own)) for label, (_, own) in zip(labels, found, strict=True)]
    return arms, [one for _, own in found for one in own]


def _unique(labels: list[str]) -> list[str]:
    """Names of arms, each its own."""
    found: list[str] = []
    for label in labels:
        name, number = label, 2
        while name in found:
            name, number = f"{label} ({number})", number + 1
        found.append(name)
    return found


def _table(compared: Comparison) -> Table:
    """The main figures and their tests; the page has all of them."""
    from visor_core.evaluation.comparison_text import TESTED, shown, summary
    from visor_core.evaluation.pairing import in_words

    figures = [found for found in compared.figures if found.figure.name in TESTED]
    table = Table(title=summary(compared), title_justify="left")
    table.add_column("result")
    for found in figures:
        table.add_column(f"{found.figure.name} ({compared.protocol})")
        table.add_column(f"against {compared.labels[0]}")
    for number, label in enumerate(compared.labels):
        cells = []
        for found in figures:
            cells += [shown(found, number), in_words(found.pairings[number - 1]) if number else "–"]
        table.add_row(*map(_plain, (label, *cells)))
    return table


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
