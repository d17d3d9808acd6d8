"""The embedded default's questions: the Parquet file of the asset `questions`, gold pages already resolved.

The test range belongs to the final study (`visor_core.nano.held_out`) and is refused here.
"""

from __future__ import annotations

from pathlib import Path

from visor_core.errors import DataError
from visor_core.evaluation.benchmarks.resolve import BenchmarkQuestions
from visor_core.questions import read_questions


def read(path: Path, split: str = "development") -> BenchmarkQuestions:
    """The questions of one split, in file order.

    Raises:
        DataError: if the file is missing or has no such split, or the test range is asked for.
    """
    if split == "test":
        raise DataError("the nano test range is read by `visor nano study --final` only: use split development")
    every = read_questions(path)
    chosen = tuple(question for question in every if question.split == split)
    if not chosen:
        found = ", ".join(sorted({question.split for question in every})) or "none"
        raise DataError(f"{path.name} has no questions of split {split!r} (it has: {found})")
    return BenchmarkQuestions(chosen)
