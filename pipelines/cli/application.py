"""Assembles the command line and is its outermost frame: a `VisorError` becomes one line on stderr and exit code 2.

So does what the machine refuses: a full disk, a folder that may not be written, a name that is too long.
Anything else is a defect of the project and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import typer

from pipelines.cli import (
    asking,
    comparing,
    corpus,
    debugging,
    evaluating,
    fetching,
    judging,
    lineage,
    machine,
    nano,
    questions,
    replaying,
    runs,
    upkeep,
    verifying,
)
from pipelines.cli.session import reason_of
from visor_core.errors import VisorError
from visor_core.installation import version as installed_version

REFUSALS = {
    getattr(errno, name)
    for name in (
        "ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENOLCK", "EIO", "ENAMETOOLONG", "ENOTDIR", "EISDIR",
        "EEXIST", "ELOOP", "EMFILE", "ENFILE", "ENOMEM",
    )
}  # fmt: skip
"""What an operating system says of its files and not of the program."""

app = typer.Typer(
    name="visor",
    help="Train, run and measure agents that answer questions over visually rich documents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"visor {installed_version()}")
        raise typer.Exit


@app.callback()
def _options(
    home: Path = typer.Option(Path(".visor"), envvar="VISOR_HOME", help="Folder that holds everything a run writes."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    from pipelines.instance import prepare_process

    prepare_process()


GROUPS = (
    *(corpus, fetching, questions, asking, replaying, runs, evaluating, judging, verifying, comparing, debugging),
    *(lineage, upkeep, nano, machine),
)
"""The modules of commands, in the order of the help."""
for group in GROUPS:
    group.register(app)


def main() -> None:
    """The console script `visor`."""
    try:
        app()
    except VisorError as error:
        print(f"visor: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file of VISOR_HOME"
        print(f"visor: {where}: {reason_of(error)}", file=sys.stderr)
        raise SystemExit(2) from None
