"""`visor run` and `visor ui`: materialize the asset graph, and look at it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer
import yaml
from rich.markup import escape
from rich.table import Table

from pipelines.choice import Choice
from pipelines.cli.session import command_line, console, errors, home_of, parse_settings, resolve_profile
from visor_core.config import corpus_name
from visor_core.config.policies import REINFORCED, TRAINED, UNTRAINED
from visor_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assets_defs.machinery.stage import Node
    from pipelines.estimates import StageEstimate
    from pipelines.run import RunSummary
    from visor_core.config import Home, Profile
    from visor_core.questions import Question


FIELDS = {"seconds": "CPU time", "gpu_hours": "GPU hours", "tokens": "tokens", "disk_gib": "disk GiB"}
"""Figures of a stage's estimate, and their columns."""
EVALUATED = {UNTRAINED.run(): "untrained"} | {
    policy.run(sampled=sampled): f"after {policy.label}, {how}"
    for policy in TRAINED
    for sampled, how in ((False, "greedy"), (True, "sampled"))
}
"""What the summary calls the evaluations of the benchmark."""


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
    rebuild_lost: bool = typer.Option(
        False, "--rebuild-lost", help="Also build again what is lost and costs more than rebuild.confirm_gpu_hours."
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Print the resolved profile, what is stale and why, and an estimate; run nothing."
    ),
    settings: list[str] = typer.Option([], "--set", help="Override a setting, as section.key=value; may be repeated."),
) -> None:
    """Materialize the asset graph: whatever is stale, in order, with a summary at the end."""
    from pipelines import preflight

    home = home_of(context)
    settings = [*settings, *(["rebuild.confirm_gpu_hours=null"] if rebuild_lost else [])]
    resolved = resolve_profile(profile, settings)
    _require_corpus(resolved, home, corpus)
    if dry_run:
        _print_plan(resolved, home, select, corpus, force=force)
        return
    preflight.require(resolved, preflight.inspect_machine(home.root))
    _say_what_corpora_keep(resolved, home, corpus)
    if not force:
        _say_what_is_lost(resolved, home, select, corpus)
    from pipelines.run import run_graph

    try:
        choice = Choice(profile, parse_settings(settings))
        summary = run_graph(choice, home, select, corpus=corpus, force=force)
    except KeyboardInterrupt as interruption:
        errors.print(escape(str(interruption) or "interrupted; the next run goes on from there"))
        raise typer.Exit(130) from None
    _print_summary(summary)
    _print_next(home, _write_report(home, resolved), _first_question(resolved, home), resolved.corpora.development)


def _require_corpus(profile: Profile, home: Home, name: str) -> None:
    """A corpus that is asked for is the profile's, has been ingested, or has documents waiting.

    Raises:
        ConfigError: naming those there are.
    """
    known = {*profile.corpora.names, *home.corpora()}
    if name and corpus_name(name) not in known and not home.inbox(name).is_dir():
        raise ConfigError(
            f"no corpus {name!r} (there are: {', '.join(sorted(known))}): `visor ingest PATH --corpus {name}` makes one"
        )


def _say_what_corpora_keep(profile: Profile, home: Home, corpus: str) -> None:
    """Where a user's corpus was made under other settings than the profile's: its own hold."""
    from visor_core.index.corpus_settings import is_synthetic, settings_of

    for name in (corpus,) if corpus else profile.corpora.names:
        if not is_synthetic(profile, name) and (kept := settings_of(profile, home, name).contradicted):
            errors.print(
                f"note: corpus {escape(name)} keeps its settings {escape(', '.join(kept))};"
                f" `visor ingest --corpus {escape(name)} --set …` changes one",
                style="yellow",
                soft_wrap=True,
            )


def _say_what_is_lost(profile: Profile, home: Home, select: list[str], corpus: str) -> None:
    """What was built and has lost files since: it is built again.

    Raises:
        ConfigError: before anything starts, if that costs more than may be spent unasked.
    """
    from assets_defs.machinery.graph import plan
    from assets_defs.machinery.losses import losses, require_word
    from pipelines.estimates import gpu_hours

    hours = gpu_hours(profile)
    for node, gone in losses(plan(profile, select, corpus), profile, home).items():
        require_word(node, gone, profile, hours)
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        errors.print(
            f"note: {escape(f'{gone[0]}{more}')}: {escape(str(node))} is built again", style="yellow", soft_wrap=True
        )


def ui(
    context: typer.Context,
    profile: str = typer.Option("nano", "--profile", help="Profile that materializations from the page run under."),
    host: str = typer.Option("127.0.0.1", help="Address to listen on: this machine alone, as the pages know no login."),
    dagster_port: int = typer.Option(3000, help="Port of Dagster's page."),
    mlflow_port: int = typer.Option(5000, help="Port of MLflow's page."),
    new_links_port: int = typer.Option(
        0, "--links-port", help="Port that links to runs and reports lead to from now on.", show_default="the home's"
    ),
    settings: list[str] = typer.Option([], "--set", help="Override a setting, as section.key=value; may be repeated."),
) -> None:
    """Open Dagster's and MLflow's web pages; runs until interrupted."""
    from pipelines.ui import say, serve

    resolve_profile(profile, settings)
    _require_loopback(host, home_of(context), dagster_port, mlflow_port, new_links_port)
    try:
        serve(
            home_of(context),
            Choice(profile, parse_settings(settings)),
            dagster_port=dagster_port,
            mlflow_port=mlflow_port,
            new_links_port=new_links_port,
        )
    except KeyboardInterrupt:
        say("ended")  # the console of a closed terminal would make it a failure


def _require_loopback(host: str, home: Home, *ports: int) -> None:
    """Whoever reaches the pages runs code and reads every document, so they are reached from elsewhere by SSH alone.

    Raises:
        ConfigError: with the command that does that.
    """
    from assets_defs.machinery.links import ADDRESS, links_port

    if host in (ADDRESS, "localhost"):
        return
    forwarded = " ".join(f"-L {port}:{ADDRESS}:{port}" for port in (*ports[:-1], ports[-1] or links_port(home)))
    raise ConfigError(
        f"--host {host!r}: the pages know no login, and whoever reaches them runs code here; leave --host out, and on"
        f" the other machine `ssh {forwarded} USER@THIS-MACHINE` shows them there at the same addresses"
    )


def _print_plan(profile: Profile, home: Home, select: list[str], corpus: str, *, force: bool) -> None:
    """The resolved profile as YAML, what is stale and why, then what a run from nothing costs and what is missing."""
    from pipelines import preflight
    from pipelines.estimates import DEFAULT_PAGES, estimate, unit_costs
    from pipelines.run import foresee

    foreseen = foresee(profile, home, select, corpus=corpus, force=force)
    print(yaml.safe_dump(profile.model_dump(mode="json"), sort_keys=False), end="")
    console.print()
    _print_stale(foreseen)
    machine = preflight.inspect_machine(home.root)
    asked = {node.stage for node in foreseen}
    stages = [stage for stage in estimate(profile) if asked.intersection(stage.stage.split(", "))]
    source = unit_costs()["nano" if profile.nano else "pretrained"]["source"]
    console.print()
    console.print(_estimate_table(stages))
    console.print(f"[dim]Unit costs: {source}[/dim]", soft_wrap=True)
    _print_sums(stages)
    if not profile.nano:
        console.print(f"[dim]For a corpus of {DEFAULT_PAGES:,} pages.[/dim]", soft_wrap=True)
        _print_memory(profile)
    disk = sum(stage.disk_gib.value for stage in stages)
    if disk > machine.disk_gib:
        console.print(f"Disk: {disk:.1f} GiB wanted, {machine.disk_gib:.1f} GiB free for {home.root}", soft_wrap=True)
    for fault in preflight.lacking(profile, machine):
        console.print(f"missing here: {fault}", markup=False, soft_wrap=True)


def _print_stale(foreseen: Mapping[Node, str]) -> None:
    """What a run would make, each with the reason."""
    stale = {node: why for node, why in foreseen.items() if why}
    console.print(f"Stale: {len(stale)} of {len(foreseen)} stages")
    for node, why in stale.items():
        console.print(f"  {node}: {why}", markup=False, soft_wrap=True)


def _estimate_table(stages: list[StageEstimate]) -> Table:
    table = Table(title="Estimate of a run from nothing", title_justify="left", box=None, show_footer=True)
    table.add_column("stage", footer="all", overflow="fold")
    table.add_column("work", overflow="fold")
    for field, name in FIELDS.items():
        total = sum(getattr(stage, field).value for stage in stages)
        table.add_column(name, justify="right", footer=_cell(field, total), no_wrap=True)
    for stage in stages:
        table.add_row(stage.stage, stage.work, *(_cell(field, getattr(stage, field).value) for field in FIELDS))
    return table


def _cell(field: str, value: float) -> str:
    """A figure as it stands in the table; nothing for none."""
    if not value:
        return ""
    if field == "seconds":
        return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"
    if field == "tokens":
        return f"{value / 1e6:.2f} M"
    return f"{value:.1f}" if field == "gpu_hours" else f"{value:.2f}"


def _print_sums(stages: list[StageEstimate]) -> None:
    """How each figure of the table comes about, a line each."""
    for stage in stages:
        for field, name in FIELDS.items():
            figure = getattr(stage, field)
            if figure:
                text = f"{stage.stage}, {name}: {figure.text} = {_cell(field, figure.value)}"
                console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


def _print_memory(profile: Profile) -> None:
    """What each GPU must hold while GRPO trains, and how that comes about."""
    from assets_defs.machinery.launching import launch_of
    from pipelines.estimates import least_gpu_gib, memory_gib

    count = launch_of(profile).processes
    console.print(
        f"Memory of each of {count} GPUs for GRPO: about {least_gpu_gib(profile):.0f} GiB"
        f" (the profile asks for {profile.model.min_gpu_gib:.0f})",
        soft_wrap=True,
    )
    for name, figure in memory_gib(profile).items():
        text = f"{name}: {figure.text} = {figure.value:.1f} GiB"
        console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


def _print_summary(summary: RunSummary) -> None:
    """Stages with their figures (a terminal has shown that table already), then what the run was for."""
    from assets_defs.machinery.builds import INCOMPLETE
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
        if INCOMPLETE in result.figures:
            lacking = f"{result.node} is incomplete, the next run goes on: {result.figures[INCOMPLETE]}"
            console.print(escape(lacking), style="yellow", soft_wrap=True)
    benchmark = summary.figures("benchmark_results")
    if benchmark:
        console.print(_success_table(benchmark))


def _success_table(figures: Mapping[str, int | float | str]) -> Table:
    """The three policies on held-out questions, from the figures `<policy>[_sampled]_<measure>`."""
    table = Table(title="Held-out questions", title_justify="left", box=None, pad_edge=False)
    table.add_column("policy")
    for measure in ("supported", "answers right"):
        table.add_column(measure, justify="right")
    for prefix, name in EVALUATED.items():
        cells = [figures.get(f"{prefix}_{measure}") for measure in ("supported", "accuracy")]
        if None not in cells:
            table.add_row(name, *(f"{cell:.3f}" for cell in cells))
    tokens = REINFORCED.figure("prompt_tokens_a_turn")
    if tokens in figures:
        table.caption = f"{figures[tokens]:.1f} prompt tokens a turn"
    return table


def _write_report(home: Home, profile: Profile) -> Path:
    from pipelines.reporting import gather_report
    from visor_core.evaluation.report import write_report

    return write_report(home.reports / "report.html", gather_report(home, profile.documents))


def _first_question(profile: Profile, home: Home) -> Question | None:
    """A development question to try, if there is one."""
    from assets_defs.machinery.builds import find_record
    from assets_defs.machinery.stage import Node
    from visor_core.questions import read_questions

    record = find_record(home, Node("questions", profile.corpora.development))
    found = read_questions(record.folder(home) / "questions.parquet") if record else []
    return found[0] if found else None


def _print_next(home: Home, report: Path, question: Question | None, corpus: str) -> None:
    """Commands that look at what this home holds; without `--home` they find the usual one."""
    console.print("\nWhere to look next")
    hints = [
        ("the report", shlex.join(["xdg-open", str(report)])),
        ("Dagster's page, MLflow's page", command_line(home, "ui")),
    ]
    if question:
        partition = ["--partition", question.partition] if question.partition else []
        hints.append(("an episode", command_line(home, "ask", question.question, "--corpus", corpus, *partition)))
    hints.append(
        ("your own documents", f'{command_line(home, "ingest")} PATH, then {command_line(home, "search")} "…"')
    )
    for what, how in hints:
        console.print(f"  {what:<36}{how}", markup=False, soft_wrap=True)
