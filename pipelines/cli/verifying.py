"""`visor best-of`: what it brings to play a question several times and choose, as success against tokens."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from pipelines.cli import asking, judging
from pipelines.cli.question_sets import (
    BENCHMARK,
    CORPUS,
    LIMIT,
    QUESTIONS,
    SPLIT,
    TAG,
    evaluation_of,
    open_benchmark,
    settled_benchmark,
    settled_split,
)
from pipelines.cli.session import console, home_of, print_table, progress_bar
from visor_core.errors import ConfigError
from visor_core.files import file_name, write_json, write_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from visor_core.evaluation.statistics import Interval
    from visor_core.verification.curve import Point


NO_AUROC = "all answers are right, or all are wrong: how well doubt tells them apart cannot be said"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("best-of")(best_of)


def best_of(
    context: typer.Context,
    samples: int = typer.Option(4, min=2, max=64, help="Episodes a question."),
    questions: Path | None = QUESTIONS,
    benchmark: str = BENCHMARK,
    split: str = SPLIT,
    corpus: str = CORPUS,
    tag: str = TAG,
    checkpoint: Path | None = asking.CHECKPOINT,
    endpoint: str = asking.ENDPOINT,
    model: str = asking.MODEL,
    api_key: str = asking.API_KEY,
    engine: str = asking.ENGINE,
    profile: str = asking.AGENT_PROFILE,
    strategy: str = asking.STRATEGY,
    settings: list[str] = asking.SETTINGS,
    temperature: float = typer.Option(1.0, min=0.0, help="Sampling temperature; it must leave something to chance."),
    limit: int | None = LIMIT,
    seed: int = typer.Option(0, help="Seed of the first episodes; the second ones have the next, and so on."),
    label: str = typer.Option("", help="Name of the result.", show_default="the policy and the benchmark"),
    learn: Path | None = typer.Option(None, "--learn", help="Write the learnt scorer, fitted on all episodes, here."),
) -> None:
    """Play every question several times; compare ways to choose the answer, and to ask again where it is doubtful.

    Episodes are kept: more samples, or a call that was stopped, go on where an earlier one ended.
    """
    from visor_core.agent.environment import Environment
    from visor_core.evaluation import runner
    from visor_core.policies.identity import digest_of
    from visor_core.trajectories.playing import identity_of, play
    from visor_core.verification.curve import as_record, doubt_auroc, examples_of, revised, sampled
    from visor_core.verification.curve import best_of as choosing
    from visor_core.verification.learnt import fit
    from visor_core.verification.page import curve_html

    if temperature == 0:
        raise ConfigError("--temperature 0 plays the same episode every time: give --temperature 1, or another above 0")
    home = home_of(context)
    benchmark = settled_benchmark(home, benchmark, questions, corpus)
    split = settled_split(benchmark, split)
    folder = None if endpoint else asking.choose_checkpoint(home, checkpoint)
    settled = asking.agent_profile(profile, settings, strategy, folder, model if endpoint else "")
    opened = open_benchmark(home, benchmark, questions, split, corpus, tag, settled, settings)
    index, found = opened.index, opened.found
    config = evaluation_of(settled, temperature, limit)
    chosen = runner.chosen_questions(found.questions, config)
    account = context.with_resource(judging.counted(home, "best-of")) if endpoint else None
    player = asking.choose_policy(index, folder, endpoint, model, api_key, engine, settled, home.digests, account)
    environment = Environment(index, settled.agent, settled.index)
    label = label or f"{player.name} {settled.agent.strategy} {benchmark} best of {samples} T={temperature:g}"
    identity = {**identity_of(player, environment, chosen, temperature, seed), "samples": samples}
    path = home.evaluations / "best-of" / file_name(label, digest_of(identity), ".json")
    played = []
    with player, progress_bar() as bar:
        task = bar.add_task("episodes", total=len(chosen) * samples)
        for sample in range(samples):
            of_sample = play(
                player,
                environment,
                chosen,
                seed=seed + sample,
                temperature=temperature,
                concurrency=config.concurrency,
                store=home.evaluations / "trajectories",
                progress=partial(_count, bar, task, sample * len(chosen)),
            )
            played.append(of_sample)
    ended = [of for of in zip(*(p.episodes for p in played), strict=True) if all(e.outcome != "error" for e in of)]
    if not ended:
        raise ConfigError(f"no question came to an end in all {samples} episodes: `visor eval` says why they fail")
    table = sampled(ended)
    points = [*choosing(table, seed=seed), *revised(table, seed=seed)]
    auroc = doubt_auroc(table)
    record = {
        "label": label,
        "identity": identity,
        "stores": [digest_of(of.identity) for of in played],
        "questions": len(ended),
        "left_out_failed": len(chosen) - len(ended),
        "doubt_auroc": None if math.isnan(auroc) else auroc,
        "points": [as_record(point) for point in points],
    }
    write_json(path, record)
    write_text(path.with_suffix(".html"), curve_html(label, len(ended), points, auroc))
    opened.print_left_out()
    if len(ended) < len(chosen):
        console.print(f"{len(chosen) - len(ended)} of {len(chosen)} questions failed in an episode and are left out")
    print_table(points_table(points))
    console.print(
        f"doubt tells wrong answers from right ones with AUROC {auroc:.3f}" if not math.isnan(auroc) else NO_AUROC
    )
    if learn:
        fit([(of, right) for _, of, right in examples_of(table)], len(ended)).save(learn)
        console.print(f"learnt scorer written to {learn}", markup=False, soft_wrap=True)
    console.print(f"kept as {path}, the curve as {path.with_suffix('.html')}", markup=False, soft_wrap=True)


def _count(bar: Progress, task: TaskID, before: int, done: int, _: int) -> None:
    """Show the episodes of all samples so far."""
    bar.update(task, completed=before + done)


def points_table(points: list[Point]) -> Table:
    """One row a way of answering."""
    from visor_core.evaluation.statistics import TOO_FEW, limits

    table = Table(title="95 % bootstrap intervals over questions; gain against a single episode", title_justify="left")
    for column in ("method", "episodes", "tokens", "answers right", "supported", "gain"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for point in points:
        gain = point.gain
        table.add_row(
            point.method,
            f"{point.episodes:g}",
            "–" if point.tokens is None else f"{point.tokens:,.0f}",
            _figure(point.right),
            _figure(point.supported),
            f"{gain.difference:+.3f} {limits(gain, '+')}".removesuffix(TOO_FEW),
        )
    if any(point.right.few for point in points):
        table.caption = f"every interval:{TOO_FEW}"
    return table


def _figure(of: Interval) -> str:
    """A figure with its limits; that they rest on few questions stands once, below the table."""
    from visor_core.evaluation.statistics import TOO_FEW

    return str(of).removesuffix(TOO_FEW)
