"""Commands on where builds come from: show, compare, rebuild, carry elsewhere, clear away.

A build is named by a folder, a result of `visor eval`, an asset, a fingerprint, an id of MLflow or Dagster, or as
`champion`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from pipelines.cli.session import console, errors, home_of
from visor_core.errors import DataError
from visor_core.files import write_text

if TYPE_CHECKING:
    from visor_core.config import Home
    from visor_core.lineage import Build, Lineage, Made
    from visor_core.lineage.clearing import Clearing

BUILD = typer.Argument(
    ..., help="A folder, a result of visor eval, an asset, a fingerprint, an id of MLflow or Dagster, or champion."
)
MIB = 2**20


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(lineage)
    app.command()(diff)
    app.command()(reproduce)
    app.command()(export)
    app.command("import")(import_)
    app.command()(gc)


def lineage(
    context: typer.Context,
    build: str = BUILD,
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
    as_html: bool = typer.Option(False, "--html", help="Write a page with the graph as a picture."),
    output: Path | None = typer.Option(None, "--output", help="File of --html.", show_default="VISOR_HOME/reports/…"),
) -> None:
    """Show what a build was made from: every stage upstream, down to the hashes of the documents."""
    from visor_core.lineage import lineage_json, listing

    home = home_of(context)
    found = lineage_of(home, build)
    if as_json:
        print(json.dumps(lineage_json(found), indent=1))
    elif as_html or output:
        console.print(f"lineage: {write_page(home, found, output)}", markup=False, soft_wrap=True)
    else:
        console.print(listing(found), markup=False, soft_wrap=True)


def write_page(home: Home, found: Lineage, output: Path | None = None) -> Path:
    """Write a lineage as a page, among the reports unless told otherwise; returns where."""
    from visor_core.lineage.picture import lineage_html

    path = output or home.reports / f"lineage-{found.target.stage}-{found.target.made.fingerprint}.html"
    write_text(path, lineage_html(found))
    return path


def diff(
    context: typer.Context,
    first: str = BUILD,
    second: str = typer.Argument(..., help="The build to compare it with, named likewise."),
) -> None:
    """Say why two builds differ: code, data, configuration, seed, package, machine, and the stage where they part."""
    from visor_core.lineage.difference import compare_lineages

    home = home_of(context)
    found = compare_lineages(lineage_of(home, first), lineage_of(home, second))
    console.print(found.text, markup=False, soft_wrap=True)


def lineage_of(home: Home, name: str) -> Lineage:
    """The lineage of the build that is meant, in the home it lies in."""
    from visor_core.lineage import ancestry, read_builds
    from visor_core.lineage.reference import home_holding

    place = home_holding(name, home)
    known = read_builds(place, Path(name))
    return ancestry(place, _find(place, name, known), known)


def reproduce(
    context: typer.Context,
    build: str = BUILD,
    new: Path | None = typer.Option(
        None, "--home", help="Folder to rebuild it in.", show_default="VISOR_HOME/rebuilt/…"
    ),
) -> None:
    """Rebuild a checkpoint, a run or an evaluation from its recorded lineage alone, and compare.

    Exit codes: 0 identical, 3 agrees by intervals (on another kind of machine), 1 differs, 2 it cannot start.
    """
    from pipelines.reproducing import plan, rebuild
    from visor_core.config import Home
    from visor_core.lineage import read_builds
    from visor_core.lineage.comparison import EXIT

    home = home_of(context)
    known = read_builds(home, Path(build))
    found = _find(home, build, known)
    planned = plan(home, found, known, Home(new) if new else Home(home.rebuilt / found.fingerprint))
    for line in planned.text:
        console.print(line, markup=False, soft_wrap=True)
    outcome = rebuild(planned, lambda line: console.print(line, markup=False, soft_wrap=True))
    for stage in outcome.stages:
        if stage.again is None:
            console.print(stage.text, markup=False, soft_wrap=True)
    for figure in outcome.figures:
        console.print(figure.text, markup=False, soft_wrap=True)
    first = f", first in {outcome.first_difference}" if outcome.first_difference else ""
    where = f"{planned.lineage.target.made} rebuilt in {planned.new.root}"
    said = {
        "identical": "identical: every data version and all weights",
        "agrees": f"agrees: what differs{first and f'{first},'} scores the same within the 95 % intervals",
        "differs": f"differs{first}",
    }
    console.print(f"{where}: {said[outcome.verdict]}", markup=False, soft_wrap=True)
    raise typer.Exit(EXIT[outcome.verdict])


def export(
    context: typer.Context,
    build: str = BUILD,
    folder: Path = typer.Argument(..., help="New folder for it."),
) -> None:
    """Write a checkpoint with its lineage, model card, settings, index tag, wording and results into a folder."""
    from visor_core.lineage import read_builds
    from visor_core.lineage.transfer import checkpoint_build, export_checkpoint

    home = home_of(context)
    known = read_builds(home, Path(build))
    chosen = checkpoint_build(home, _find(home, build, known), known)
    _require_whole(home, chosen)
    exported = export_checkpoint(home, chosen, known, folder)
    console.print(
        f"{exported.made}: {exported.files} files, {exported.size / MIB:.1f} MiB in {folder}; on another machine"
        " `visor import` takes the folder",
        markup=False,
        soft_wrap=True,
    )


def _require_whole(home: Home, build: Build) -> None:
    """A checkpoint whose files are not those that were written is not passed on.

    Raises:
        DataError: naming the first file, and the command that makes it anew.
    """
    from assets_defs.machinery.builds import read_build
    from assets_defs.machinery.losses import lost
    from assets_defs.machinery.stage import Node

    record = read_build(home, Node(build.stage, build.partition), build.fingerprint)
    if record and (gone := lost(home, record, deep=True)):
        raise DataError(f"{build.made}: {gone[0]}; make it anew first: `visor run --select {build.stage} --force`")


def import_(context: typer.Context, folder: Path = typer.Argument(..., help="Folder that visor export wrote.")) -> None:
    """Bring an exported checkpoint into this home, every file compared with its hash."""
    from visor_core.lineage.transfer import import_checkpoint

    imported = import_checkpoint(home_of(context), folder)
    console.print(
        f'{imported.made} is here: visor ask "…" --checkpoint {imported.made.fingerprint}', markup=False, soft_wrap=True
    )


def gc(
    context: typer.Context,
    delete: bool = typer.Option(False, "--delete", help="Free it; without this, only say what would be freed."),
    unfinished: bool = typer.Option(False, "--unfinished", help="Also builds that were begun and not finished."),
    verbose: bool = typer.Option(False, "--verbose", help="Also say why each build that stays is kept."),
) -> None:
    """Say what nothing needs any more, and free it with --delete.

    Kept are the builds in force, the champion, what MLflow's registry names by an alias, what an evaluation, a stress
    or a counterfactual measured, and everything these were made from; of each corpus the newest `index.keep_tags` index
    tags, and those that something kept names. What a running process holds is never touched.
    """
    from pipelines.compacting import compacted, leaving_tags
    from visor_core.lineage.clearing import clear, find_clearable

    home = home_of(context)
    found = find_clearable(home, _aliased(home), unfinished=unfinished)
    _print_clearing(home, found, verbose=verbose)
    leaving = leaving_tags(home)
    for corpus, tags in leaving.items():
        console.print(
            f"index tags of corpus {corpus} that nothing names: {', '.join(tags)}", markup=False, soft_wrap=True
        )
    if not delete:
        console.print(f"would free {found.size / MIB:.1f} MiB; --delete does it")
        return
    freed = [item for item in found.clearable if clear(item)]
    for item in found.clearable:
        if item not in freed:
            errors.print(f"kept {item.path}: a process has begun to use it", markup=False, soft_wrap=True)
    console.print(f"freed {sum(item.size for item in freed) / MIB:.1f} MiB")
    for corpus in leaving:
        console.print("\n".join(compacted(home, corpus)), markup=False, soft_wrap=True)


def _aliased(home: Home) -> set[str]:
    """Runs and models that the registry names by an alias; none where nothing was tracked yet."""
    uri = _store(home)
    if not uri:
        return set()
    from visor_core.lineage.registry import aliased

    return aliased(uri)


def _store(home: Home) -> str:
    """The address of MLflow's store; empty where there is none yet."""
    from visor_core.tracking import tracking_uri

    own = tracking_uri(home) if (home.mlflow / "mlflow.db").is_file() else ""
    return os.environ.get("MLFLOW_TRACKING_URI") or own


def _find(home: Home, name: str, known: dict[Made, Build]) -> Build:
    """The build that is meant; the MLflow run of a whole Dagster run is what that run made.

    Raises:
        DataError: if there is none, or it could be several.
    """
    from visor_core.lineage import find_build
    from visor_core.lineage.registry import RUN_ID, dagster_run_of

    if RUN_ID.fullmatch(name) and not any(name in build.ids for build in known.values()):
        name = dagster_run_of(uri, name) or name if (uri := _store(home)) else name
    return find_build(home, name, known)


def _print_clearing(home: Home, found: Clearing, *, verbose: bool) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("folder", "MiB", "why"):
        table.add_column(column, justify="right" if column == "MiB" else "left", overflow="fold")
    for item in found.clearable:
        table.add_row(str(item.path.relative_to(home.root)), f"{item.size / MIB:.1f}", item.reason)
    if found.clearable:
        console.print(table)
    if verbose:
        for folder, why in sorted(found.kept.items()):
            console.print(f"kept {folder.relative_to(home.root)}: {why}", markup=False, soft_wrap=True)
