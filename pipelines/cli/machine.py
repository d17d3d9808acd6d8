"""`visor doctor` and `visor adopt`: what this machine can run, and a copied VISOR_HOME made to stand on its own."""

from __future__ import annotations

import typer
from rich.table import Table

from pipelines.cli.session import console, home_of, profile_names, resolve_profile


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(doctor)
    app.command()(adopt)


def adopt(context: typer.Context) -> None:
    """Make a copied or moved VISOR_HOME stand on its own: its runs then keep their files in it, not in the original."""
    from visor_core.tracking import adopt as take_over

    home = home_of(context)
    former = take_over(home)
    said = f"runs of {former} are now those of {home.root}" if former else f"{home.root} stands on its own already"
    console.print(said, markup=False, soft_wrap=True)


def doctor(context: typer.Context) -> None:
    """Say what is installed, what this machine can run, and what is missing for each profile."""
    from pipelines import preflight

    home = home_of(context)
    machine = preflight.inspect_machine(home.root)
    console.print(
        f"Python {machine.python} on {machine.system}, {machine.cpus} CPU cores"
        f" ({', '.join(machine.vector_extensions) or 'no vector extensions found'}),"
        f" {machine.memory_gib:.0f} GiB memory, {machine.disk_gib:.0f} GiB free for {home.root}"
    )
    gpus = ", ".join(f"{gpu.name} ({gpu.memory_gib:.0f} GiB)" for gpu in machine.gpus)
    console.print(f"CUDA GPUs: {gpus or 'none found by nvidia-smi'}")
    console.print(f"Corpora: {', '.join(home.corpora()) or 'none yet (visor ingest PATH makes one)'}")

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
