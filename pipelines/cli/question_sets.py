"""The questions a command measures with: its options for them, and the corpus and questions that they name.

`visor eval`, `best-of`, `counterfactual` and `stress` take them alike.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipelines.cli.session import open_index, print_left_out
from visor_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from visor_core.config import EvaluationConfig, Home, Profile
    from visor_core.evaluation.benchmarks.resolve import BenchmarkQuestions
    from visor_core.index import PageIndex

QUESTIONS = typer.Option(None, help="Question file.", show_default="those of the corpus")
BENCHMARK = typer.Option(
    "",
    help="nano, or a benchmark as `visor questions import` knows it.",
    show_default="that of the file or of the corpus's import, else nano",
)
SPLIT = typer.Option("", help="Split of the questions.", show_default="development of nano's, all of others'")
CORPUS = typer.Option("", "--corpus", help="Name of the corpus.", show_default="nano-development, or benchmark")
TAG = typer.Option("latest", "--tag", help="Index tag to read.")
TEMPERATURE = typer.Option(
    None, min=0.0, help="Sampling temperature; 0 is greedy.", show_default="evaluation.temperature, which is 0"
)
LIMIT = typer.Option(None, min=1, help="Only the first questions.", show_default="evaluation.questions, which is all")
FRESH = typer.Option(False, "--fresh", help="Play every episode anew, whatever earlier calls have kept.")


@dataclass(frozen=True)
class Opened:
    """A corpus and the questions on it; `questions` is their file where one was given or imported.

    `imported` is whether an import took them, which named what it left out.
    """

    corpus: str
    index: PageIndex
    questions: Path | None
    found: BenchmarkQuestions
    imported: bool = False

    def print_left_out(self) -> None:
        """Say what of the questions could not be used, by name where no import has done so."""
        listing = f"visor questions list --left-out --corpus {shlex.quote(self.corpus)}" if self.imported else ""
        print_left_out(self.found.left_out, listing)


def evaluation_of(settled: Profile, temperature: float | None, limit: int | None) -> EvaluationConfig:
    """How questions are played: as the options say where they are given, else as settings and profile do."""
    given = {"temperature": temperature, "questions": limit}
    return settled.evaluation.model_copy(update={name: value for name, value in given.items() if value is not None})


def settled_benchmark(home: Home, benchmark: str, questions: Path | None, corpus: str) -> str:
    """The benchmark that is meant where none is given: that of the file, or the only one imported into the corpus.

    Raises:
        ConfigError: if the file or the corpus has questions of several.
        DataError: if the file is of no known form, or nothing was imported into the corpus.
        SearchIndexError: if there is no such corpus.
    """
    from pipelines.cli.questions import is_question_set
    from pipelines.cli.session import corpus_folder
    from pipelines.importing import read_record
    from visor_core.evaluation.benchmarks import format_of
    from visor_core.questions import read_questions

    if benchmark:
        return benchmark
    if questions is not None and not is_question_set(questions):
        return format_of(questions)
    if questions is not None:
        held, where = sorted({q.benchmark for q in read_questions(questions)}), questions.name
    elif corpus:
        held, where = sorted(read_record(home, corpus)["imports"]), f"corpus {corpus!r}"
        held = held or (["nano"] if corpus.startswith("nano-") else [])
    else:
        return "nano"
    if len(held) > 1:
        raise ConfigError(f"{where} has questions of {', '.join(held)}: name one by --benchmark")
    if not held:
        corpus_folder(home, corpus)
        raise DataError(
            f"{where} has no questions: `visor questions import FILE --corpus {shlex.quote(corpus)}` takes some in, or"
            " give --questions FILE"
        )
    return held[0]


def settled_split(benchmark: str, split: str) -> str:
    """The split that is meant where none is given."""
    return split or ("development" if benchmark == "nano" else "")


def open_benchmark(
    home: Home,
    benchmark: str,
    questions: Path | None,
    split: str,
    corpus: str,
    tag: str,
    settled: Profile,
    settings: list[str],
) -> Opened:
    """Open the corpus that options mean, and read the questions.

    Args:
        split: as `settled_split` gives it.
        settings: those given by `--set`, which the index is opened under.

    Raises:
        ConfigError: if the benchmark or a split of the synthetic world is unknown.
        DataError: if the questions cannot be read.
        SearchIndexError: if there is no such corpus or tag.
    """
    from pipelines.cli.questions import imported_file
    from visor_core.evaluation.benchmarks import READERS

    name = corpus or (f"nano-{split}" if benchmark == "nano" else benchmark)
    if not corpus and benchmark == "nano":
        _require_split(home, split)
    index = open_index(home, name, tag, settled, settings)
    imported = questions is None and benchmark in READERS
    if imported:  # so that a lineage names it
        questions = imported_file(home, name, benchmark)
    found = read_benchmark(home, benchmark, questions, split, name, index)
    return Opened(name, index, questions, found, imported)


def _require_split(home: Home, split: str) -> None:
    """A split of the synthetic world, which is a corpus of its own, is here.

    Raises:
        ConfigError: naming those that are.
    """
    from assets_defs.machinery.stage import CORPUS_SPLITS

    here = [name for name in CORPUS_SPLITS if home.corpus(f"nano-{name}").is_dir()]
    if split in CORPUS_SPLITS and not here:
        raise ConfigError(f"--split {split!r}: nothing was built under {home.root} yet, `visor run` does")
    if split not in here and split != "test":  # of that one the questions' reader says what it is for
        raise ConfigError(f"--split {split!r} is not here: choose one of {', '.join(here or CORPUS_SPLITS)}")


def read_benchmark(
    home: Home, benchmark: str, path: Path | None, split: str, corpus: str, index: PageIndex
) -> BenchmarkQuestions:
    """The questions of a benchmark: of a file, resolved against the corpus, or those that were imported into it.

    Raises:
        ConfigError: if the benchmark is unknown.
        DataError: if its file is missing, or nothing was imported.
    """
    from assets_defs.machinery.inbox import questions_file
    from pipelines.cli.questions import imported_file, imported_questions, is_question_set
    from pipelines.importing import read_record
    from visor_core.evaluation.benchmarks import NAMES, READERS, nano
    from visor_core.evaluation.benchmarks.resolve import BenchmarkQuestions, LeftOut, PageResolver

    if benchmark == "nano":
        return nano.read(path or _nano_questions(home, corpus), split)
    if benchmark not in READERS:
        raise ConfigError(f"--benchmark {benchmark!r} is not one of nano, {NAMES}")
    path = path or imported_file(home, corpus, benchmark)
    if is_question_set(path):
        found = imported_questions(path, benchmark, split)
        here = path.resolve() == questions_file(home, corpus).resolve()
        made = read_record(home, corpus)["imports"].get(benchmark, {}) if here else {}
        return BenchmarkQuestions(tuple(found), tuple(LeftOut(**item) for item in made.get("left_out", ())))
    read = READERS[benchmark](path, PageResolver(d for d in index.documents() if d.status == "ok"))
    chosen = tuple(question for question in read.questions if split in ("", question.split))
    if not chosen:
        raise DataError(f"{path.name} has no questions of split {split!r}: leave out --split")
    return BenchmarkQuestions(chosen, read.left_out)


def _nano_questions(home: Home, corpus: str) -> Path:
    """The file of the asset `questions` for a corpus."""
    from assets_defs.machinery.builds import read_record
    from assets_defs.machinery.stage import Node

    return read_record(home, Node("questions", corpus)).folder(home) / "questions.parquet"
