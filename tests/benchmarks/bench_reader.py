"""The scripted reader on MMLongBench-Doc (../shared/data/mmlongbench-doc), all that `visor eval` measures: no model.

40 real PDFs, 960 pages, 193 without a text layer, 371 questions of which 77 have no answer; searched as one collection,
and within each question's own document as the benchmark is published. Without OCR, and with it where the extra `ocr` is
installed. Episodes are kept: a second call only scores them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from tests.benchmarks.bench_recall import DATA, open_index
from visor_core.agent.environment import Environment, SearchMode
from visor_core.config import AgentConfig, IndexConfig
from visor_core.documents import ocr
from visor_core.errors import DataError
from visor_core.evaluation.behaviour import diagnoses_by, table_rows
from visor_core.evaluation.benchmarks import mmlongbench
from visor_core.evaluation.benchmarks.resolve import PageResolver
from visor_core.evaluation.results import BenchmarkResult
from visor_core.evaluation.runner import score, words_in
from visor_core.index import Hit, Page, PageIndex
from visor_core.policies.base import ImageRef
from visor_core.policies.reader import ReaderPolicy
from visor_core.trajectories.playing import play

REFUSALS = ("refusals", "false_refusals", "refusal_precision")
"""Shares: of questions without an answer that were refused, of answerable ones that were, of right refusals."""


class WithinDocument:
    """An index whose partitions are its documents."""

    def __init__(self, index: PageIndex) -> None:
        self._index = index
        self.tag, self.corpus_name, self.data_version = index.tag, index.corpus_name, index.data_version

    def search(
        self, query: str, *, k: int = 10, mode: SearchMode = "hybrid", partition: str = "", where: Sequence[str] = ()
    ) -> list[Hit]:
        """The best pages of the document that the partition names."""
        return self._index.search(query, k=k, mode=mode, document=partition, where=where)

    def page(self, page_id: str) -> Page:
        """One page."""
        return self._index.page(page_id)

    def __call__(self, ref: ImageRef) -> Image.Image:
        """A page or a part of one."""
        return self._index(ref)


def measure(home: Path, mode: str, *, within: bool) -> BenchmarkResult:
    """The reader over all questions on the corpus with or without OCR; its episodes lie beside the corpus.

    Args:
        within: whether a question is searched in its own document only.
    """
    index = open_index(home / "bench" / "corpora" / f"mmlongbench-{mode}", mode)
    read = mmlongbench.read(DATA / "samples_subset.json", PageResolver(index.documents()))
    config = AgentConfig()
    policy = ReaderPolicy(lambda page_id: index.page(page_id).words, config)
    asked = [replace(q, partition=q.metadata["document_id"]) for q in read.questions] if within else read.questions
    played = play(
        policy,
        Environment(WithinDocument(index) if within else index, config, IndexConfig()),
        asked,
        store=home / "bench" / "reader-episodes",
        progress=_say,
    )
    result = score(played, read.left_out, words_in(index, played.episodes))
    index.close()
    return result


def main(home: Path) -> dict[str, Any]:
    """Every figure without OCR and with it, and the misses by the number of pages that a question needs."""
    if not (DATA / "documents").is_dir():
        raise DataError("../shared/data/mmlongbench-doc is not there: this measurement needs it")
    modes = {"never": "no OCR", **({"auto": "OCR"} if ocr.available() else {})}
    scopes = {"whole set": False, "within the document": True}
    found = {
        f"{scope}, {name}": measure(home, mode, within=within)
        for scope, within in scopes.items()
        for mode, name in modes.items()
    }
    for name, result in found.items():
        print(f"{name}: {len(result.episodes)} questions, {result.rule_in_words()}")
        print(f"  answers right {result.answers_right}, of the answerable {_answerable(result):.3f}")
        print(f"  supported {result.supported_success}, turns {result.metrics()['turns']:.2f}")
        shares = [f"{name.replace('_', ' ')} {result.behaviour[name]}" for name in REFUSALS if name in result.behaviour]
        print(f"  {', '.join(shares)}")
        for group, words, figure in table_rows(result.finished, seed=result.seed):
            print(f"  {group:11s} {words:70s} {figure or '–'}{f' of {figure.count}' if figure else ''}")
        for pages, (scored, misses) in diagnoses_by(result.finished, lambda r: f"{r.hops} pages").items():
            print(f"  {pages:9s} of {scored}: {misses}")
        print(f"  all       of {len(result.scored)}: {result.diagnoses()}")
    return {
        "results": [
            *(_line(f"answers right, {name}", result.answers_right.estimate, 0.1) for name, result in found.items()),
            *(
                _line(f"all gold pages shown, {n}", r.behaviour["gold_complete"].estimate, 0.25)
                for n, r in found.items()
            ),
        ],
        "raw": {name: {**result.metrics(), "diagnoses": result.diagnoses()} for name, result in found.items()},
    }


def _line(name: str, value: float, goal: float) -> dict[str, Any]:
    """One line of the summary."""
    return {"name": name, "value": round(value, 4), "unit": "share", "goal": f">= {goal:g}", "met": value >= goal}


def _say(done: int, of: int) -> None:
    if done % 64 == 0:
        print(f"  episode {done} of {of}", flush=True)


def _answerable(result: BenchmarkResult) -> float:
    """Mean score of the questions that have an answer: a policy that only refuses has none."""
    rows = [r for r in result.scored if r.answerable]
    return sum(r.score or 0.0 for r in rows) / len(rows)
