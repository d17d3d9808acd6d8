"""`visor doctor` and `visor adopt`: what this machine can run, and a copied VISOR_HOME made to stand on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.table import Table

from pipelines.cli.judging import spent_in_words
from pipelines.cli.session import console, home_of, profile_names, resolve_profile
from visor_core.errors import DataError

if TYPE_CHECKING:
    from visor_core.config import Home


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(doctor)
    app.command()(adopt)


def adopt(context: typer.Context) -> None:
    """Make a copied or moved VISOR_HOME stand on its own: its runs then keep their files in it, not in the original."""
    _relocate(home_of(context))


def _relocate(home: Home) -> None:
    """Take out of a home what earlier versions wrote into it of the place where it lay."""
    from visor_core.index import Corpus
    from visor_core.index.moving import relocate
    from visor_core.tracking import adopt as take_over

    former = take_over(home) if (home.mlflow / "mlflow.db").is_file() else None
    moved = {name: relocate(Corpus(home.corpus(name))) for name in home.corpora()}
    if former:
        console.print(f"runs of {former} are now those of {home.root}", markup=False, soft_wrap=True)
    for name, changed in moved.items():
        for before, now in changed.items():
            console.print(f"corpus {name}: {before} is now {now}", markup=False, soft_wrap=True)
    if not former and not any(moved.values()):
        console.print(f"{home.root} stands on its own already", markup=False, soft_wrap=True)


def doctor(
    context: typer.Context,
    relocate: bool = typer.Option(
        False, "--relocate", help="First mend a VISOR_HOME of an earlier version that was copied or moved."
    ),
    deep: bool = typer.Option(
        False, "--deep", help="Also compare every file in force with its hash; exit code 2 if one differs."
    ),
) -> None:
    """Say what is installed, what this machine can run, what is missing for each profile, and what is lost."""
    if relocate:
        _relocate(home_of(context))
    from pipelines import preflight
    from visor_core.documents.converting import libreoffice
    from visor_core.documents.pool import confinement_offered

    home = home_of(context)
    machine = preflight.inspect_machine(home.root)
    console.print(
        f"Python {machine.python} on {machine.system}, {machine.cpus} CPU cores"
        f" ({', '.join(machine.vector_extensions) or 'no vector extensions found'}),"
        f" {machine.memory_gib:.0f} GiB memory, {machine.disk_gib:.0f} GiB free for {home.root}"
    )
    gpus = ", ".join(f"{gpu.name} ({gpu.memory_gib:.0f} GiB)" for gpu in machine.gpus)
    console.print(f"CUDA GPUs: {gpus or 'none found by nvidia-smi'}")
    confined = ", ".join(confinement_offered())
    console.print(
        "Document workers: kept from writing, starting programs and the network by "
        f"{confined or 'Python alone (this kernel offers neither Landlock nor seccomp filters)'}"
    )
    program = libreoffice()
    console.print(
        f"Office files (DOCX, XLSX, PPTX, ODF, RTF): read through LibreOffice, {program}"
        if program
        else "Office files (DOCX, XLSX, PPTX, ODF, RTF): not read, LibreOffice is not on the PATH "
        "(apt install libreoffice, or from libreoffice.org)",
        soft_wrap=True,
        markup=False,
    )
    console.print(f"Corpora: {', '.join(home.corpora()) or 'none yet (visor ingest PATH makes one)'}")

    if spent := spent_in_words(home):
        console.print(spent, markup=False, soft_wrap=True)

    table = Table(title="Packages", title_justify="left")
    for column in ("package", "version", "for"):
        table.add_column(column)
    for distribution, purpose, needed in preflight.PACKAGES:
        version = preflight.package_version(distribution)
        absent = "[red]missing[/red]" if needed else "[dim]not installed[/dim]"
        table.add_row(distribution, version or absent, purpose)
    console.print(table)

    if preflight.importable("vllm") and not machine.gpus and "avx2" not in machine.vector_extensions:
        console.print("vLLM is installed but this processor lacks AVX2: its CPU build cannot run here.")
    for name in profile_names():
        faults = preflight.lacking(resolve_profile(name), machine)
        if faults:
            console.print(f"profile [bold]{name}[/bold]: missing")
            for fault in faults:
                console.print(f"  - {fault}", markup=False)
        else:
            console.print(f"profile [bold]{name}[/bold]: can run here")
    _say_what_is_lost(home, deep=deep)


def _say_what_is_lost(home: Home, *, deep: bool) -> None:
    """Which builds in force have lost files, each with the first of them.

    Raises:
        DataError: after a deep look that found something.
    """
    from assets_defs.machinery.builds import records_in_force
    from assets_defs.machinery.losses import lost
    from visor_core.index import Corpus, upkeep

    records = records_in_force(home)
    faults = {str(record.node): lost(home, record, deep=deep) for record in records}
    if deep:
        for record in records:
            if record.stage == "page_index" and not faults[str(record.node)]:
                faults[str(record.node)] = tuple(upkeep.verify(Corpus(record.folder(home)), deep=True))
    found = {node: gone for node, gone in faults.items() if gone}
    looked = "by content" if deep else "by size, and by content where touched"
    console.print(f"Builds in force: {len(records)}, looked at {looked}: {len(found)} have lost something")
    for node, gone in found.items():
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        stage, _, corpus = node.rstrip("]").partition("[")
        if gone[0].startswith("assets/"):  # another build's output may be this one's too: that of the champion
            stage = gone[0].split("/")[1]
        again = f"visor run --select {stage}" + (f" --corpus {corpus}" if corpus else "") + " --force"
        # A run hashes what was touched: what has the size and the times that were written it takes for whole.
        remedy = again if deep else "visor run"
        console.print(f"  - {node}: {gone[0]}{more}; `{remedy}` makes it again", markup=False, soft_wrap=True)
    if deep and found:
        raise DataError(f"{len(found)} builds in force have lost or changed files, see above")
