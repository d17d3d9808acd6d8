"""`visor nano`: the embedded default's synthetic world, written as PDF files with questions."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipelines.choice import Choice
from pipelines.cli.session import console, errors, home_of, parse_settings, resolve_profile
from pipelines.commit import commit
from visor_core.errors import ConfigError
from visor_core.nano.study_variants import SEEDS

if TYPE_CHECKING:
    from assets_defs.machinery.studies import Kind

_DEFAULT = ",".join(map(str, SEEDS))
_ABLATIONS: dict[str, tuple[Kind, ...]] = {
    "inference": ("inference",),
    "retrained": ("retrained",),
    "all": ("inference", "retrained"),
}
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
    console.print(f"index them with  visor ingest {shlex.quote(str(folder))} --corpus my-nano", soft_wrap=True)


@nano_app.command()
def study(
    context: typer.Context,
    final: bool = typer.Option(False, "--final", help="Report on the test range; every reading of it is logged."),
    rivals: bool = typer.Option(False, "--rivals", help="Compare the strategies of study.rivals instead."),
    ablations: str = typer.Option(
        "",
        "--ablations",
        help="Compare settings of the agent instead: inference (one checkpoint played under each), retrained or all.",
    ),
    longer: bool = typer.Option(False, "--long", help="Larger budgets, then the rich tier: about an hour a seed."),
    calibrate: bool = typer.Option(False, "--calibrate", help="Time the strategies; write their steps of equal time."),
    seeds: str = typer.Option(
        "",
        "--seeds",
        help="Seeds by number, as 0,1,2; each has a world and a training of its own, and what is done is kept.",
        show_default=f"{_DEFAULT}; 0 with --long",
    ),
    settings: list[str] = typer.Option([], "--set", help="Override a setting, as section.key=value; may be repeated."),
) -> None:
    """Train base model, SFT and GRPO for several seeds and print the table; goes on where it was stopped."""
    if rivals + longer + calibrate + bool(ablations) > 1:
        raise ConfigError("choose one of --rivals, --ablations, --long and --calibrate")
    if ablations not in ("", *_ABLATIONS):
        raise ConfigError(f"--ablations {ablations!r} is not one of {', '.join(_ABLATIONS)}")
    from pipelines.studies import Study

    kinds: tuple[Kind, ...] = _ABLATIONS.get(ablations) or ("rivals" if rivals else "long" if longer else "study",)

    home = home_of(context)
    resolve_profile("nano", settings)
    study = Study(
        choice=Choice("nano", parse_settings(settings)),
        home=home,
        seeds=_seeds(seeds or ("0" if longer else _DEFAULT)),
        split="test" if final else "development",
        commit=commit(),
        console=errors,
    )
    try:
        print(study.calibrate() if calibrate else "\n".join(study.table(kind) for kind in kinds))
    except KeyboardInterrupt as interruption:
        errors.print(str(interruption) or "interrupted; the next call goes on from there", markup=False)
        raise typer.Exit(130) from None
    console.print(f"kept under {home.root / 'study'}", soft_wrap=True)


def _seeds(text: str) -> tuple[int, ...]:
    """Different numbers with commas between."""
    numbers = [part.strip() for part in text.split(",")]
    if not all(number.isascii() and number.isdigit() for number in numbers) or len(set(numbers)) < len(numbers):
        raise ConfigError(f"--seeds {text!r}: give different numbers with commas between, as 0,1,2")
    if any(int(number) >= 2**31 for number in numbers):
        raise ConfigError(f"--seeds {text!r}: give numbers below 2147483648")
    return tuple(int(number) for number in numbers)
