"""`visor questions`: the questions of a benchmark, or your own, as the questions of a corpus.

    visor ingest PDFS --corpus reports
    visor questions import samples.json --corpus reports --split-by document
    visor questions list --corpus reports

An import is validated against the documents and pages of the corpus. It writes what the asset `questions` reads,
`inbox/<corpus>.questions.parquet`, and beside it what was decided, `inbox/<corpus>.import.json`. With `--split-by
document` the corpora `<corpus>-train`, `-development` and `-test` get the documents and questions of their split, so
that training and measuring see disjoint documents and indexes.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from pipelines.cli.session import LISTED, console, home_of, open_index, print_left_out
from visor_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from visor_core.config import Home
    from visor_core.questions import Question

questions_app = typer.Typer(help="The questions of a corpus.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(questions_app, name="questions")


@questions_app.command("import")
def import_(
    context: typer.Context,
    files: list[Path] = typer.Argument(
        ...,
        metavar="FILE...",
        help="Questions file, or the folder of a ViDoRe set. Several of one form are parts of one set; of"
        " MMLongBench-Doc they are editions: what they share is asked once, and scored by each.",
        show_default=False,
    ),
    corpus: str = typer.Option("documents", "--corpus", help="Name of the corpus."),
    form: str = typer.Option(
        "", "--format", help="Form of the file: a benchmark's name, or own.", show_default="known by its fields"
    ),
    split_by: str = typer.Option(
        "", "--split-by", help="document deals the documents to train, development and test; none does not."
    ),
    shares: str = typer.Option("", "--shares", help="Of train, development, test.", show_default="0.8,0.1,0.1"),
    seed: int | None = typer.Option(None, "--seed", min=0, help="Deals the documents another way.", show_default="0"),
    replace: bool = typer.Option(
        False, "--replace", help="Put away the questions that other files gave of the same benchmark."
    ),
    tag: str = typer.Option("latest", "--tag", help="Index tag whose documents are meant."),
) -> None:
    """Take questions into a corpus: for `visor eval`, and for training. Importing a file again changes nothing."""
    from pipelines.importing import Split, import_questions

    if split_by not in ("", "document", "none"):
        raise ConfigError(f"--split-by {split_by!r} is neither document nor none")
    home = home_of(context)
    index = open_index(home, corpus, tag)
    decided = Split(split_by, shares, seed)
    found, record = import_questions(home, corpus, index, files, form, decided, replacing=replace)
    index.close()
    print_left_out(found.left_out)
    print_imported(home, corpus, found.questions[0].benchmark, record)


def print_imported(home: Home, corpus: str, benchmark: str, record: dict[str, Any]) -> None:
    """What an import took, what was decided, and what to do next."""
    made = record["imports"][benchmark]
    edition = f" (edition: {made['edition']})" if made["edition"] else ""
    console.print(
        f"{made['questions']} questions of {benchmark}{edition} in corpus {corpus}: {made['with_evidence_pages']} with"
        f" evidence pages, {made['answerable']} answerable, {len(made['left_out'])} left out",
        markup=False,
        soft_wrap=True,
    )
    for name, of in made["editions"].items():
        line = f"  edition {name}: {of['questions']} of the questions, {of['answerable']} answerable"
        console.print(line, markup=False, soft_wrap=True)
    for line in _cannot_count(made):
        console.print(line, markup=False, soft_wrap=True)
    if len(made["left_out"]) > LISTED:
        all_of_them = f"all that was left out:  visor questions list --left-out --corpus {shlex.quote(corpus)}"
        console.print(all_of_them, markup=False, soft_wrap=True)
    if not made["with_answers"]:
        console.print("they have no answers: they measure page retrieval only", soft_wrap=True)
    name = shlex.quote(corpus)
    for split, part in record["splits"].get("parts", {}).items():
        line = f"  {split}: {part['questions']} questions about {len(part['files'])} documents, corpus {part['corpus']}"
        console.print(line, markup=False, soft_wrap=True)
    if record["splits"].get("parts"):
        console.print(
            "no document is in two of them; to train:  visor run --profile PROFILE"
            f" --set corpora.train={name}-train --set corpora.development={name}-development",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"to measure:  visor eval --benchmark {benchmark} --corpus {name}", markup=False, soft_wrap=True)


def _cannot_count(made: dict[str, Any]) -> list[str]:
    """What of the questions that are kept is never right, or never supported."""
    told = []
    if dropped := made.get("gold_dropped"):
        told.append(f"  {dropped} name an evidence page that no document has (page 0): their evidence is not judged")
    reasons = {
        "never_right": "have a gold answer that is not of its own format, so that no answer is right",
        "contradicting": "ask what another asks of the same document, and expect another answer",
    }
    for key, reason in reasons.items():
        if names := made.get(key):
            first = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
            told.append(f"  {len(names)} {reason}: {first}")
    return told


@questions_app.command("list")
def list_(
    context: typer.Context,
    corpus: str = typer.Option("documents", "--corpus", help="Name of the corpus."),
    left_out: bool = typer.Option(False, "--left-out", help="Also every item that was left out, with its reason."),
) -> None:
    """What was imported into a corpus: from which file, how many questions of which kind, and what was left out."""
    from pipelines.importing import read_record

    record = read_record(home_of(context), corpus)
    if not record["imports"]:
        raise DataError(f"nothing was imported into corpus {corpus!r}: `visor questions import FILE --corpus {corpus}`")
    for benchmark, made in record["imports"].items():
        console.print(f"[bold]{escape(benchmark)}[/bold] read {made['imported']} as {made['format']}", soft_wrap=True)
        for source, sha256 in zip(made["sources"], made["sha256"], strict=True):
            console.print(f"  {source}, SHA-256 {sha256[:16]}…", markup=False, soft_wrap=True)
        for what in ("questions", "answerable", "with_evidence_pages", "splits", "kinds", "answer_formats"):
            if made[what]:
                console.print(f"  {what.replace('_', ' ')}: {_told(made[what])}", markup=False, soft_wrap=True)
        reasons = made["left_out_by_reason"]
        console.print(f"  left out: {_told(reasons) if reasons else 'none'}", markup=False, soft_wrap=True)
        for line in _cannot_count(made):
            console.print(line, markup=False, soft_wrap=True)
        for item in made["left_out"] if left_out else ():
            console.print(f"    {item['item']}: {item['reason']}: {item['detail']}", markup=False, soft_wrap=True)


def _told(value: Any) -> str:
    """A number, or counts by name."""
    return ", ".join(f"{name} {count}" for name, count in value.items()) if isinstance(value, dict) else str(value)


def imported_file(home: Home, corpus: str, benchmark: str) -> Path:
    """The file that holds the imported questions of a corpus.

    Raises:
        DataError: if nothing was imported.
    """
    from assets_defs.machinery.inbox import questions_file

    path = questions_file(home, corpus)
    if not path.is_file():
        raise DataError(
            f"--benchmark {benchmark} needs --questions FILE, or questions of the corpus: `visor questions import FILE"
            f" --corpus {corpus}`"
        )
    return path


def is_question_set(path: Path) -> bool:
    """Whether a file is Parquet as an import writes it, gold pages resolved: not a benchmark's own."""
    import polars as pl

    from visor_core.questions import to_frame

    if path.suffix != ".parquet" or not path.is_file():
        return False
    try:
        return set(to_frame([]).columns) <= set(pl.read_parquet_schema(path))
    except pl.exceptions.PolarsError:
        return False  # its reader says what it is


def imported_questions(path: Path, benchmark: str, split: str) -> list[Question]:
    """The questions of a benchmark that an import wrote, those of one split where it is named.

    Raises:
        DataError: if there are none.
    """
    from visor_core.questions import read_questions

    of = [question for question in read_questions(path) if question.benchmark == benchmark]
    chosen = [question for question in of if split in ("", question.split)]
    if not of:
        raise DataError(f"{path} holds no questions of {benchmark}: `visor questions import FILE` takes them in")
    if not chosen:
        splits = ", ".join(sorted({question.split for question in of} - {""})) or "none"
        raise DataError(f"the questions of {benchmark} in {path} have no split {split!r} (splits: {splits})")
    return chosen
