"""`visor fetch`: documents and questions of a published benchmark, from the hub at a pinned commit, into a corpus.

    visor fetch mmlongbench --dry-run        # what it would take
    visor fetch mmlongbench
    visor eval --benchmark mmlongbench --endpoint … --model …

`HF_ENDPOINT` names another hub and `HF_TOKEN` the key to a gated dataset, as for the hub's own tools. What was fetched
lies under `VISOR_HOME/fetched`; a call that was stopped goes on where it was, inside a file too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pipelines.cli.corpus import ingest_into
from pipelines.cli.questions import print_imported
from pipelines.cli.session import LISTED, console, errors, home_of, open_index, print_left_out, progress_bar
from visor_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visor_core.documents.hub import Failed, HubFile
    from visor_core.evaluation.published import Prepared, Published


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(fetch)


def fetch(
    context: typer.Context,
    benchmark: str = typer.Argument(..., help="mmlongbench, slidevqa, vidoseek, docscope or vidore-NAME."),
    corpus: str = typer.Option("", "--corpus", help="Name of the corpus.", show_default="the benchmark's"),
    revision: str = typer.Option("", "--revision", help="Commit on the hub.", show_default="the one known here"),
    folder: Path | None = typer.Option(None, "--from", help="A folder with the files, in place of the hub."),
    split: str = typer.Option("", "--split", help="Of slidevqa: test, val or train.", show_default="test"),
    split_by: str = typer.Option(
        "", "--split-by", help="document deals the documents, as in `visor questions import`."
    ),
    shares: str = typer.Option("", "--shares", help="Of train, development, test.", show_default="0.8,0.1,0.1"),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be fetched, and fetch nothing."),
    profile: str = typer.Option("", "--profile", help="Profile whose document and index settings apply."),
    settings: list[str] = typer.Option([], "--set", help="Override a setting, as section.key=value; may be repeated."),
) -> None:
    """Fetch a benchmark into a corpus: its documents are ingested, its questions imported. Goes on where it was."""
    from pipelines.importing import Split, import_questions
    from visor_core.evaluation.published import prepare

    home = home_of(context)
    published, split = _published(benchmark, split)
    name = corpus or (benchmark if split == published.splits[0] else f"{benchmark}-{_corpus_split(split)}")
    home.corpus(name)
    if folder is not None:
        root, files, failed = folder, *_found_in(folder, published, split)
        if not files[0]:
            raise DataError(
                f"{folder} holds no questions of {published.repository} as they lie on the hub:"
                f" {', '.join(published.patterns(published.questions, split))}; a question file of another form:"
                " `visor ingest` the documents, then `visor questions import FILE`"
            )
        console.print(
            f"{folder}: {len(files[0])} files of questions, {len(files[1])} documents; {len(failed)} that the questions"
            " name are not there",
            markup=False,
            soft_wrap=True,
        )
    else:
        root, files, failed = _from_hub(home.fetched, benchmark, published, split, revision, dry_run=dry_run)
    if dry_run:
        return
    questions, documents = files
    with progress_bar() as bar:
        task = bar.add_task("slides", total=None)
        made = prepare(
            published,
            root if folder is None else home.fetched / benchmark / "local",
            questions,
            documents,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    _print_failed(failed, made)
    if not made.documents:
        raise DataError(f"no document of {benchmark} is here: run again, or give --from FOLDER with its files")
    ingest_into(home, name, made.documents, profile, settings)
    index = open_index(home, name, "latest")
    try:
        found, record = import_questions(home, name, index, [made.questions], published.form, Split(split_by, shares))
    finally:
        index.close()
    print_left_out(found.left_out)
    print_imported(home, name, found.questions[0].benchmark, record)
    if failed:
        errors.print("the next call asks for what failed again", soft_wrap=True)
        raise typer.Exit(1)


def _published(benchmark: str, split: str) -> tuple[Published, str]:
    """The benchmark and its split.

    Raises:
        ConfigError: if there is no such benchmark, or it has no such split.
    """
    from visor_core.evaluation.published import NOT_FETCHED, PUBLISHED

    if benchmark in NOT_FETCHED:
        raise ConfigError(
            f"{benchmark} is not fetched: {NOT_FETCHED[benchmark]}; `visor ingest` its documents, then `visor questions"
            f" import FILE --format {benchmark}`"
        )
    if benchmark not in PUBLISHED:
        raise ConfigError(f"no benchmark {benchmark!r}: choose one of {', '.join(PUBLISHED)}")
    published = PUBLISHED[benchmark]
    if split and split not in published.splits:
        known = ", ".join(filter(None, published.splits)) or "none"
        raise ConfigError(f"{benchmark} has no split {split!r} (it has: {known})")
    return published, split or published.splits[0]


def _corpus_split(split: str) -> str:
    """What a split is called in the name of a corpus: as the profiles name theirs."""
    return {"val": "development"}.get(split, split)


def _found_in(folder: Path, published: Published, split: str) -> tuple[tuple[list[Path], list[Path]], list[Failed]]:
    """The questions and documents that lie in a folder as they lie on the hub, and the named ones that do not.

    Raises:
        DataError: if it is no folder.
    """
    from visor_core.documents.hub import HubFile, chosen

    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: give the one that holds the files of {published.repository}")
    listing = [
        HubFile(path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    ]
    questions = [folder / file.path for file in chosen(listing, published.patterns(published.questions, split))]
    documents, lacking = _named(chosen(listing, published.patterns(published.documents, split)), published, questions)
    return (questions, [folder / file.path for file in documents]), lacking


def _from_hub(
    fetched: Path, benchmark: str, published: Published, split: str, revision: str, *, dry_run: bool
) -> tuple[Path, tuple[list[Path], list[Path]], list[Failed]]:
    """Fetch questions, then the documents that they name: (folder, files, what could not be had)."""
    from visor_core.documents.hub import chosen, list_files, require_commit
    from visor_core.documents.hub import fetch as fetch_files

    if not (revision or published.revision):
        raise ConfigError(
            f"the commit of {published.repository} is not known here: give --revision, from its page on the hub"
        )
    commit = require_commit(revision or published.revision, published.repository)
    root = fetched / benchmark / commit[:12]
    listing = list_files(published.repository, commit)
    asked = chosen(listing, published.patterns(published.questions, split))
    offered = chosen(listing, published.patterns(published.documents, split))
    if not asked:
        raise DataError(f"{published.repository} at {commit} has no {' or '.join(published.questions)}")
    console.print(f"{published.repository} at {commit}; terms: {published.terms}", markup=False, soft_wrap=True)
    _print_size("questions", asked, root)
    most = " at most: those that the questions name" if published.named_in else ""
    _print_size(f"documents{most}", offered, root)
    if dry_run:
        return root, ([], []), []
    with _bytes_bar() as bar:
        task = bar.add_task("questions", total=None)
        step = lambda done, total: bar.update(task, completed=done, total=total)  # noqa: E731
        failed = fetch_files(published.repository, commit, asked, root, step)
        if failed:
            raise DataError(f"{failed[0].path}: {failed[0].reason}: run again")
        questions = [root / file.path for file in asked]
        documents, lacking = _named(offered, published, questions)
        task = bar.add_task("documents", total=None)
        failed = fetch_files(published.repository, commit, documents, root, step)
    lost = {each.path for each in failed}
    here = [root / file.path for file in documents if file.path not in lost]
    return root, (questions, here), [*lacking, *failed]


def _named(
    offered: Sequence[HubFile], published: Published, questions: Sequence[Path]
) -> tuple[list[HubFile], list[Failed]]:
    """The documents that questions name, and the names that are none of those offered."""
    from visor_core.documents.hub import Failed
    from visor_core.evaluation.published import named_documents

    if not published.named_in or not questions:
        return list(offered), []
    wanted = named_documents(questions, published.named_in)
    found = [file for file in offered if file.path.rpartition("/")[2] in wanted]
    lacking = sorted(wanted - {file.path.rpartition("/")[2] for file in found})
    return found, [Failed(name, "no file of that name is offered") for name in lacking]


def _print_size(what: str, files: Sequence[HubFile], root: Path) -> None:
    """How many files and bytes there are, and how many of them are to be fetched."""
    from visor_core.documents.hub import still_to_fetch

    total, left = sum(file.size for file in files), still_to_fetch(files, root)
    console.print(f"{what}: {len(files)} files, {_size(total)}; {_size(left)} to fetch", markup=False, soft_wrap=True)


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _print_failed(failed: Sequence[Failed], made: Prepared) -> None:
    """Every file and item that is left out before the ingest, the first ones by name."""
    lost = [*((each.path, each.reason) for each in failed), *made.left_out]
    for path, reason in lost[:LISTED]:
        errors.print(f"left out: {path}: {reason}", markup=False, soft_wrap=True)
    if len(lost) > LISTED:
        errors.print(f"  and {len(lost) - LISTED} more", soft_wrap=True)


def _bytes_bar() -> Progress:
    """Progress in bytes; silent where the output is not a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
