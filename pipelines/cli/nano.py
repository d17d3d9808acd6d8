"""`visor nano`: the embedded default's synthetic world, written as PDF files with questions."""

from __future__ import annotations

from pathlib import Path

import typer

from pipelines.cli.session import console, errors, home_of, resolve_profile
from visor_core.errors import ConfigError

nano_app = typer.Typer(help="The embedded default's synthetic documents.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(nano_app, name="nano")


@nano_app.callback()
def nano(
    context: typer.Context,
    corpora: int = typer.Option(1, "--corpora", min=1, max=999, help="Corpora to write, of eight companies each."),
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of the world; the same seed gives the same bytes."),
    questions: int = typer.Option(64, "--questions", min=1, help="Questions to write."),
    output: Path | None = typer.Option(None, "--output", help="Folder.", show_default="VISOR_HOME/nano/seed-S"),
    settings: list[str] = typer.Option([], "--set", help="Override a setting, as nano.key=value; may be repeated."),
) -> None:
    """Write synthetic company reports as PDF files, with questions whose answers are known."""
    if context.invoked_subcommand is not None:
        return
    profile = resolve_profile("nano", settings)
    if profile.nano is None:
        raise ConfigError("the profile nano has no section `nano`")
    from visor_core.nano.questions import ask_world
    from visor_core.nano.world import write_world
    from visor_core.questions import write_questions

    nano = profile.nano.model_copy(update={"train_corpora": corpora})
    tier = "" if nano.tier == "core" else f"{nano.tier}-"
    folder = output or home_of(context).root / "nano" / f"{tier}seed-{seed}"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output {folder} is a file, not a folder")
    world = write_world(folder, "train", nano, seed)
    asked = ask_world(world, questions, nano, seed)
    write_questions(folder / "questions.parquet", asked)
    console.print(
        f"{len(world.files)} documents with {len(world.pages)} pages and {len(asked)} questions in {folder}",
        soft_wrap=True,
    )
    for question in asked[:3]:
        console.print(f"  “{question.question}” → {', '.join(question.answers)}", markup=False)
    console.print(f"index them with  visor ingest {folder} --corpus my-nano", soft_wrap=True)


@nano_app.command()
def study(
    context: typer.Context,
    final: bool = typer.Option(False, "--final", help="Report on the test range; every reading of it is logged."),
    seeds: int = typer.Option(3, "--seeds", min=1, max=20, help="Seeds, each with a world and a training of its own."),
    settings: list[str] = typer.Option([], "--set", help="Override a setting, as section.key=value; may be repeated."),
) -> None:
    """Train base model, SFT and GRPO for several seeds and print the table; goes on where it was stopped."""
    profile = resolve_profile("nano", settings)
    from visor_core.nano.study import run_study

    folder = home_of(context).root / "study"
    table = run_study(
        profile,
        folder,
        range(seeds),
        final=final,
        progress=lambda line: errors.print(line, markup=False, soft_wrap=True),
    )
    print(table)
    console.print(f"kept under {folder}", soft_wrap=True)
