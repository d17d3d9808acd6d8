"""`visor run` and `visor ui`: materialize the asset graph, and look at it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import typer
import yaml
from rich.markup import escape
from rich.table import Table

from pipelines.cli.session import console, errors, home_of, resolve_profile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipelines.estimates import StageEstimate
    from pipelines.run import RunSummary
    from visor_core.config import Home, Profile
    from visor_core.questions import Question


POLICIES = {
    "base": "untrained",
    "sft": "after SFT, greedy",
    "sft_sampled": "after SFT, sampled",
    "grpo": "after GRPO, greedy",
    "grpo_sampled": "after GRPO, sampled",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(run)
    app.command()(ui)


def run(
    context: typer.Context,
    profile: str = typer.Option("nano", "--profile", help="Profile: a name, or a YAML file."),
    select: list[str] = typer.Option([], "--select", help="Only this asset and what it needs; may be repeated."),
    corpus: str = typer.Option("", "--corpus", help="For the assets of one corpus: which one."),
    force: bool = typer.Option(False, "--force", help="Build the selected assets anew."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the resolved profile and an estimate, run nothing."),
    settings: list[str] = typer.Option([], "--set", help="Override a setting, as section.key=value; may be repeated."),
) -> None:
    """Materialize the asset graph: whatever is stale, in order, with a summary at the end."""
    from pipelines import preflight

    home = home_of(context)
    resolved = resolve_profile(profile, settings)
    if dry_run:
        _print_plan(resolved, home)
        return
    preflight.require(resolved, preflight.inspect_machine(home.root))
    _say_what_corpora_keep(resolved, home, corpus)
    from pipelines.run import run_graph

    try:
        summary = run_graph(resolved, home, select, corpus=corpus, force=force)
    except KeyboardInterrupt as interruption:
        errors.print(f"interrupted; the next run goes on from there {interruption}".rstrip())
        raise typer.Exit(130) from None
    _print_summary(summary)
    _print_next(_write_report(home, resolved), _first_question(resolved, home), resolved.corpora.development)


def _say_what_corpora_keep(profile: Profile, home: Home, corpus: str) -> None:
    """Where a user's corpus was made under other settings than the profile's: its own hold."""
    from assets_defs.corpus_settings import is_synthetic, settings_of
    from assets_defs.stage import corpora_of

    for name in (corpus,) if corpus else corpora_of(profile):
        if not is_synthetic(profile, name) and (kept := settings_of(profile, home, name).contradicted):
            errors.print(
                f"note: corpus {escape(name)} keeps its settings {escape(', '.join(kept))};"
                f" `visor ingest --corpus {escape(name)} --set …` changes one",
                style="yellow",
                soft_wrap=True,
            )


def ui(
    context: typer.Context,
    profile: str = typer.Option("nano", "--profile", help="Profile that materializations from the page run under."),
    dagster_port: int = typer.Option(3000, help="Port of Dagster's page."),
    mlflow_port: int = typer.Option(5000, help="Port of MLflow's page."),
) -> None:
    """Open Dagster's and MLflow's web pages; runs until interrupted."""
    from pipelines.ui import serve

    resolve_profile(profile)
    try:
        serve(home_of(context), profile, dagster_port=dagster_port, mlflow_port=mlflow_port)
    except KeyboardInterrupt:
        console.print("ended")


def _print_plan(profile: Profile, home: Home) -> None:
    """The resolved profile as YAML, then what it would cost and what is missing for it."""
    from assets_defs.launching import launch_of
    from pipelines import preflight
    from pipelines.estimates import DEFAULT_PAGES, estimate, training_memory_gib, unit_costs

    print(yaml.safe_dump(profile.model_dump(mode="json"), sort_keys=False), end="")
    machine = preflight.inspect_machine(home.root)
    stages = estimate(profile)
    source = unit_costs()["nano" if profile.nano else "pretrained"]["source"]
    console.print()
    console.print(_estimate_table(stages))
    console.print(f"[dim]Unit costs: {source}[/dim]", soft_wrap=True)
    if not profile.nano:
        console.print(
            f"[dim]For a corpus of {DEFAULT_PAGES:,} pages. Training all parameters needs about"
            f" {training_memory_gib(profile):.0f} GiB of memory on each of {launch_of(profile).processes} GPUs,"
            " activations and the engine apart.[/dim]",
            soft_wrap=True,
        )
    disk = sum(stage.disk_gib for stage in stages)
    if disk > machine.disk_gib:
        console.print(f"Disk: {disk:.1f} GiB wanted, {machine.disk_gib:.1f} GiB free for {home.root}", soft_wrap=True)
    for fault in preflight.lacking(profile, machine):
        console.print(f"missing here: {fault}", markup=False, soft_wrap=True)


def _estimate_table(stages: list[StageEstimate]) -> Table:
    table = Table(title="Estimate", title_justify="left", box=None, show_footer=True)
    totals = [
        sum(getattr(stage, field) for stage in stages) for field in ("seconds", "gpu_hours", "tokens", "disk_gib")
    ]
    table.add_column("stage", footer="all", overflow="fold")
    table.add_column("work", overflow="fold")
    for name, total in zip(("CPU time", "GPU hours", "tokens", "disk GiB"), _cells(*totals), strict=True):
        table.add_column(name, justify="right", footer=total, no_wrap=True)
    for stage in stages:
        table.add_row(stage.stage, stage.work, *_cells(stage.seconds, stage.gpu_hours, stage.tokens, stage.disk_gib))
    return table


def _cells(seconds: float, gpu_hours: float, tokens: float, disk_gib: float) -> list[str]:
    def shown(value: float, text: str) -> str:
        return text if value else ""

    minutes = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return [
        shown(seconds, minutes),
        shown(gpu_hours, f"{gpu_hours:.1f}"),
        shown(tokens, f"{tokens / 1e6:.2f} M"),
        shown(disk_gib, f"{disk_gib:.2f}"),
    ]


def _print_summary(summary: RunSummary) -> None:
    """Stages with their figures (a terminal has shown that table already), then what the run was for."""
    from pipelines.display import clock, figures_text

    if not errors.is_terminal:
        table = Table(box=None, pad_edge=False)
        for column in ("stage", "time", "", "key figures"):
            table.add_column(column, justify="right" if column == "time" else "left", overflow="fold")
        for result in summary.results:
            seconds = clock(result.seconds) if result.state != "unchanged" else ""
            # A node's name holds its corpus in square brackets, which rich would take for markup.
            table.add_row(escape(str(result.node)), seconds, result.state, figures_text(result.figures))
        console.print(table)
    built = f"{summary.built} of {len(summary.results)} stages built" if summary.built else "nothing was stale"
    console.print(f"\nProfile {summary.profile}: {built}, {clock(summary.seconds)}")
    for result in summary.results:
        for warning in result.warnings:
            console.print(f"check failed: {warning}", style="yellow", soft_wrap=True)
    benchmark = summary.figures("benchmark_results")
    if benchmark:
        console.print(_success_table(benchmark))


def _success_table(figures: Mapping[str, int | float | str]) -> Table:
    """The three policies on held-out questions, from the figures `<policy>[_sampled]_<measure>`."""
    table = Table(title="Held-out questions", title_justify="left", box=None, pad_edge=False)
    table.add_column("policy")
    for measure in ("supported", "answers right"):
        table.add_column(measure, justify="right")
    for prefix, name in POLICIES.items():
        cells = [figures.get(f"{prefix}_{measure}") for measure in ("supported", "accuracy")]
        if None not in cells:
            table.add_row(name, *(f"{cell:.3f}" for cell in cells))
    if "grpo_prompt_tokens_a_turn" in figures:
        table.caption = f"{figures['grpo_prompt_tokens_a_turn']:.1f} prompt tokens a turn"
    return table


def _write_report(home: Home, profile: Profile) -> Path:
    from pipelines.reporting import gather_report
    from visor_core.evaluation.report import write_report

    return write_report(home.reports / "report.html", gather_report(home, profile.documents))


def _first_question(profile: Profile, home: Home) -> Question | None:
    """A development question to try, if there is one."""
    from assets_defs.stage import Node, find_record
    from visor_core.questions import read_questions

    record = find_record(home, Node("questions", profile.corpora.development))
    found = read_questions(record.folder(home) / "questions.parquet") if record else []
    return found[0] if found else None


def _print_next(report: Path, question: Question | None, corpus: str) -> None:
    console.print("\nWhere to look next")
    visor = "visor" if shutil.which("visor") else ".venv/bin/visor"
    hints = [("the report", f"xdg-open {report}"), ("Dagster's page, MLflow's page", "make ui")]
    if question:
        partition = f" --partition {question.partition}" if question.partition else ""
        hints.append(("an episode", f'{visor} ask "{question.question}" --corpus {corpus}{partition}'))
    hints.append(("your own documents", f'{visor} ingest PATH, then {visor} search "…"'))
    for what, how in hints:
        console.print(f"  {what:<36}{how}", markup=False, soft_wrap=True)
