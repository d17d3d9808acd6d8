"""One module a benchmark file format: a questions file and a corpus in, `Question` records out."""

from collections.abc import Callable
from pathlib import Path

from visor_core.evaluation.benchmarks import mmlongbench, slidevqa, vidoseek
from visor_core.evaluation.benchmarks.resolve import BenchmarkQuestions, PageResolver

READERS: dict[str, Callable[[Path, PageResolver], BenchmarkQuestions]] = {
    "mmlongbench": mmlongbench.read,
    "vidoseek": vidoseek.read,
    "slidevqa": slidevqa.read,
}
"""Readers of published benchmarks by name; the nano world's questions are read by `nano.read`."""
