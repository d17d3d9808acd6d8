"""Page recall of plain search on MMLongBench-Doc (../shared/data/mmlongbench-doc): no GPU, no download.

40 real PDFs, 960 pages, 199 without a text layer, 293 questions with evidence pages. Choices (n-gram length, fusion
constant, weights) were made on documents whose name hashes even; figures are given for the odd ones and for all.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.documents import ocr
from visor_core.errors import DataError
from visor_core.evaluation.benchmarks import mmlongbench
from visor_core.evaluation.benchmarks.resolve import PageResolver
from visor_core.evaluation.page_recall import PageRecall, measure_page_recall
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages
from visor_core.index.fusion import reciprocal_rank_fusion
from visor_core.index.ranking.order import WEIGHTS
from visor_core.questions import Question

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mmlongbench-doc"
INGREDIENTS = {
    "passages, stemmed words": ("passages",),
    "whole pages, 5-grams": ("text",),
    "both": ("text", "passages"),
    "both + hashed vectors": ("text", "passages", "hash"),
    "all (the default)": ("text", "passages", "hash", "number"),
}


def even(question: Question) -> bool:
    """Whether the question's document is one on which choices were made."""
    return hashlib.sha256(question.metadata["filename"].encode()).digest()[0] % 2 == 0


def open_index(folder: Path, mode: str) -> PageIndex:
    """The 40 documents, ingested with or without OCR; an unchanged earlier ingest is used again."""
    corpus, documents, config = Corpus(folder), DocumentsConfig(ocr=mode), IndexConfig()  # type: ignore[arg-type]
    register_documents(corpus, [DATA / "documents"], documents)
    render_pages(corpus, documents, progress=lambda _, done, total: done % 100 or print(f"  page {done} of {total}"))
    build_index(corpus, config, load_embedders(config))
    return PageIndex.open(folder)


class Rankings:
    """All rankings of all questions, computed once, for any choice of ingredients."""

    def __init__(self, index: PageIndex, questions: Sequence[Question], *, within: bool) -> None:
        self._found = {
            q.question_id: index.rankings(q.question, 50, document=q.metadata["document_id"] if within else None)
            for q in questions
        }

    def search(self, names: Sequence[str]) -> Callable[[Question, int], list[str]]:
        """A search that fuses only these rankings."""

        def found(question: Question, k: int) -> list[str]:
            chosen = {name: r for name, r in self._found[question.question_id].items() if name in names}
            return [page_id for page_id, _ in reciprocal_rank_fusion(chosen, WEIGHTS)[:k]]

        return found


def main(home: Path) -> dict[str, Any]:
    """Measure with and without OCR, whole set and within the document, by ingredient and by source."""
    if not (DATA / "documents").is_dir():
        raise DataError("../shared/data/mmlongbench-doc is not there: this measurement needs it")
    figures: list[tuple[str, PageRecall]] = []
    by_source: dict[str, dict[str, float]] = {}
    modes = ["never", "auto"] if ocr.available() else ["never"]
    for mode in modes:
        index = open_index(home / "bench" / "corpora" / f"mmlongbench-{mode}", mode)
        read = mmlongbench.read(DATA / "samples_subset.json", PageResolver(index.documents()))
        questions = [q for q in read.questions if q.gold_pages]
        sources = {page.page_id: page.text_source for page in index.pages()}
        for within in (False, True):
            rankings = Rankings(index, questions, within=within)
            scope = "within document" if within else "whole set"
            chosen = INGREDIENTS if mode == modes[-1] else {"all (the default)": INGREDIENTS["all (the default)"]}
            for name, parts in chosen.items():
                title = f"{scope}, {'OCR, ' if mode != 'never' else 'no OCR, '}{name}"
                figures.append((title, measure_page_recall(title, rankings.search(parts), questions)))
            if mode != modes[-1]:
                continue
            search = rankings.search(INGREDIENTS["all (the default)"])
            odd = [q for q in questions if not even(q)]
            figures.append((f"{scope}, odd documents", measure_page_recall("odd", search, odd)))
            for source, asked in by_evidence(questions, sources).items():
                found = measure_page_recall(source, search, asked)
                by_source.setdefault(source, {"questions": len(asked)})[scope] = round(found.recall[5], 3)
    for title, found in figures:
        print(
            f"{title:62s} R@1 {found.recall[1]:.3f} R@3 {found.recall[3]:.3f} R@5 {found.recall[5]:.3f} "
            f"R@10 {found.recall[10]:.3f} MRR {found.mrr:.3f} nDCG@5 {found.ndcg_at_5:.3f} "
            f"ceiling@5 {found.ceiling[5]:.3f}"
        )
    for source, values in sorted(by_source.items()):
        print(f"  {source:40s} {values}")
    final = {title: found for title, found in figures if "all (the default)" in title and "no OCR" not in title}
    odd = {title: f for title, f in figures if title.endswith("odd documents")}
    whole = next(f for t, f in (final or dict(figures)).items() if t.startswith("whole"))
    within_ = next(f for t, f in (final or dict(figures)).items() if t.startswith("within"))
    return {
        "results": [
            row("page recall@5, whole set", whole.recall[5], 0.46),
            row("page recall@5, within the document", within_.recall[5], 0.62),
            row("page recall@5, whole set, odd documents", odd["whole set, odd documents"].recall[5], 0.46),
            row(
                "page recall@5, within the document, odd documents",
                odd["within document, odd documents"].recall[5],
                0.62,
            ),
        ],
        "raw": {
            title: {
                "recall": f.recall,
                "mrr": f.mrr,
                "ndcg@5": f.ndcg_at_5,
                "ceiling": f.ceiling,
                "questions": f.questions,
            }
            for title, f in figures
        },
        "by_source": by_source,
    }


def by_evidence(questions: Sequence[Question], sources: dict[str, str]) -> dict[str, list[Question]]:
    """Questions by kind of evidence and by where the text of their gold pages comes from."""
    groups: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        for kind in question.evidence_sources:
            groups[f"evidence: {kind}"].append(question)
        for source in {sources[page_id] for page_id in question.gold_pages}:
            groups[f"text: {source}"].append(question)
    return dict(groups)


def row(name: str, value: float, goal: float) -> dict[str, Any]:
    """One line of the summary."""
    return {"name": name, "value": round(value, 4), "unit": "share", "goal": f">= {goal}", "met": value >= goal}
