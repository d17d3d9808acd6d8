"""`visor index …`: look after a corpus's index."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.cli.session import console, corpus_folder, errors, home_of, too_long
from visor_core.errors import SearchIndexError

index_app = typer.Typer(
    no_args_is_help=True, help="Look after an index: verify, compact, tags, settings, diff, remove."
)
CORPUS = typer.Option("documents", "--corpus", help="Name of the corpus.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(index_app, name="index")


def _folder(context: typer.Context, corpus: str) -> Path:
    return corpus_folder(home_of(context), corpus)


@index_app.command()
def verify(
    context: typer.Context,
    corpus: str = CORPUS,
    tag: str = typer.Option("latest", "--tag", help="Index tag."),
    deep: bool = typer.Option(False, "--deep", help="Also compare every stored document with its hash."),
) -> None:
    """Check a tagged state: keys, counts, pages, vectors, sources. Exit code 2 if there is a fault."""
    folder = _folder(context, corpus)
    from visor_core.index import Corpus, upkeep

    faults = upkeep.verify(Corpus(folder), tag, deep=deep)
    for fault in faults:
        errors.print(escape(fault), soft_wrap=True)
    if faults:
        raise SearchIndexError(f"corpus {corpus!r}, tag {tag!r}: {len(faults)} faults, see above; ingest it again")
    found = upkeep.lacking(Corpus(folder), tag)
    for filename, number, left_out in found.cut:
        errors.print(too_long(filename, number, left_out), markup=False, soft_wrap=True)
    counts = {
        "pages without content": found.blank,
        "documents quarantined": found.refused,
        "pages searched in part": len(found.cut),
    }
    lacking = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    missing = f"; {lacking}" if lacking else ""
    console.print(f"corpus {corpus}, tag {tag}: no fault{missing}", soft_wrap=True)


@index_app.command()
def compact(
    context: typer.Context,
    corpus: str = CORPUS,
    drop: list[str] = typer.Option([], "--drop", help="Forget this tag first; may be repeated."),
) -> None:
    """Free what no tag needs; every tag that stays keeps its versions readable.

    The newest `index.keep_tags` tags stay, those that were given a name, and those that a stored trajectory,
    checkpoint, evaluation or champion names.
    """
    folder = _folder(context, corpus)
    from pipelines.compacting import compacted
    from visor_core.index import Corpus, upkeep

    store = Corpus(folder)
    for tag in drop:
        upkeep.delete_tag(store, tag)
    console.print("\n".join(compacted(home_of(context), corpus)), markup=False, soft_wrap=True)


@index_app.command()
def remove(
    context: typer.Context,
    corpus: str = typer.Argument(..., help="Name of the corpus."),
    delete: bool = typer.Option(False, "--delete", help="Do it; without this, only say what would go."),
) -> None:
    """Take a corpus away: its documents and index, the builds of it, and its partition on Dagster's page.

    What was put aside for it in the inbox is left, and refuses the removal, as it would bring the corpus back.
    """
    from pipelines.removing import remove_corpus, what_goes

    home = home_of(context)
    found = what_goes(home, corpus)
    for line in found.text:
        console.print(line, markup=False, soft_wrap=True)
    if not delete:
        console.print("nothing is removed yet; --delete does it")
        return
    remove_corpus(home, found)
    console.print(f"corpus {found.corpus} is removed", markup=False, soft_wrap=True)


@index_app.command()
def tags(context: typer.Context, corpus: str = CORPUS) -> None:
    """List the tags of a corpus with what they hold."""
    folder = _folder(context, corpus)
    from visor_core.index import Corpus
    from visor_core.index.tags import list_tags, read_manifest

    store = Corpus(folder)
    table = Table(box=None, pad_edge=False)
    for column in ("tag", "data version", "documents", "pages", "passages", "vectors"):
        table.add_column(column, justify="right" if column in ("documents", "pages", "passages") else "left")
    for tag in list_tags(store):
        manifest = read_manifest(store, tag)
        counts = [str(manifest.counts[name]) for name in ("documents", "pages", "passages")]
        table.add_row(tag, manifest.data_version, *counts, ", ".join(vector.name for vector in manifest.vectors))
    console.print(table)


@index_app.command()
def settings(context: typer.Context, corpus: str = CORPUS) -> None:
    """Show the settings that a corpus keeps: they hold for every command that does not name another."""
    folder = _folder(context, corpus)
    from visor_core.index import Corpus, read_settings
    from visor_core.index.settings import stored_fields

    found = read_settings(Corpus(folder))
    if found.documents is None:
        console.print(f"corpus {corpus} holds no page: the next ingest decides its settings", markup=False)
    for name, section in (("documents", found.documents), ("index", found.index)):
        for field in stored_fields(type(section)) if section is not None else ():
            value = section.model_dump(mode="json")[field]
            if field == "passwords":
                value = {file: secret["reference"] for file, secret in value.items()}
            console.print(f"{name}.{field}={value}", markup=False, soft_wrap=True)


@index_app.command()
def diff(
    context: typer.Context,
    old: str = typer.Argument(..., help="Earlier tag."),
    new: str = typer.Argument("latest", help="Later tag."),
    corpus: str = CORPUS,
) -> None:
    """Say what changed from one tag to another."""
    folder = _folder(context, corpus)
    from visor_core.index import Corpus, upkeep

    found = upkeep.difference(Corpus(folder), old, new)
    for sign, names in (("+", found.documents_added), ("-", found.documents_removed)):
        for name in names:
            console.print(f"{sign} {name}", markup=False, soft_wrap=True)
    console.print(f"pages: {found.pages_added} added, {found.pages_removed} removed, {found.pages_changed} changed")
    for name, (before, after) in found.settings.items():
        console.print(f"setting {name}: {before} → {after}", markup=False, soft_wrap=True)
