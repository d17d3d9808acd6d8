"""Page recall of plain search: no GPU, no download. Today's order beside the fusion of commit c773eb6, same candidates.

MMLongBench-Doc (../shared/data/mmlongbench-doc): 40 real PDFs, 960 pages, 199 without a text layer, 293 questions with
evidence pages; choices were made on documents whose name hashes even, figures are given for the odd ones and for all.
The made reports (`reports`): 72 long reports of 24 companies whose questions name company and year; the weights of the
reranker were learnt on half of the companies. Intervals are of paired differences, over documents.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from tests.benchmarks.reports.indexed import open_reports
from tests.benchmarks.reports.words import halved
from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.documents import ocr
from visor_core.errors import DataError
from visor_core.evaluation.benchmarks import mmlongbench
from visor_core.evaluation.benchmarks.resolve import PageResolver
from visor_core.evaluation.page_recall import measure_page_recall
from visor_core.evaluation.statistics import PairedTest, paired_difference
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages
from visor_core.index.filters import Filters
from visor_core.index.fusion import reciprocal_rank_fusion
from visor_core.index.ranking.order import Ranked
from visor_core.index.ranking.reranker import prior
from visor_core.questions import Question
from visor_core.scoring.retrieval import recall_at

CONFIG = IndexConfig(embedders=("hash",))
DEPTH = 50
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mmlongbench-doc"
FORMER = {"text": 2.0}
"""Weights by which commit c773eb6 fused its rankings: 5-grams, stemmed passages, hashed words, page numbers."""
FORMER_WAY = "fusion of c773eb6"
WAYS = (
    "now",
    "now, no document named",
    "now, weights as set by hand",
    FORMER_WAY,
    "that without hashed words",
)
GOALS = {"never": (0.52, 0.66), "auto": (0.70, 0.82)}
"""Recall@5 of the whole corpus and within the document, without and with OCR, where nothing was chosen."""
RATIO = 0.85
"""Least share of the recall within the document that the whole corpus reaches where questions name it."""


def even(question: Question) -> bool:
    """Whether the question's document is one on which choices were made."""
    return hashlib.sha256(question.metadata["filename"].encode()).digest()[0] % 2 == 0


def open_index(folder: Path, mode: str) -> PageIndex:
    """The 40 documents, ingested with or without OCR; an unchanged earlier ingest is used again."""
    corpus, documents, config = Corpus(folder), DocumentsConfig(ocr=mode), CONFIG  # type: ignore[arg-type]
    register_documents(corpus, [DATA / "documents"], documents)
    render_pages(corpus, documents, progress=lambda _, done, total: done % 100 or print(f"  page {done} of {total}"))
    build_index(corpus, config, load_embedders(config))
    return PageIndex.open(folder)


class Asked:
    """What every way of searching finds for all questions, in the whole corpus or within each one's document."""

    def __init__(self, index: PageIndex, questions: Sequence[Question], *, within: bool) -> None:
        self.questions = questions
        self._found: dict[str, dict[str, list[str]]] = {way: {} for way in WAYS}
        hashed = next(vector for vector in index.manifest.vectors if vector.name == "hash")
        for question in questions:
            document = question.metadata["document_id"] if within else None
            now = index.ranked(question.question, DEPTH, "text", Filters(document=document))
            former = index.ranked(question.question, DEPTH, "text", Filters(document=document), by_name=False)
            rankings = dict(former.rankings)
            vector = index.rankings(question.question, DEPTH, "vector", document=document)
            found = {
                "now": [page_id for page_id, _ in now.order()],
                "now, no document named": [page_id for page_id, _ in former.order()],
                "now, weights as set by hand": by_weights(now, prior()),
                "that without hashed words": _fused(rankings),
                FORMER_WAY: _fused(rankings | {"hash": vector.get(hashed.column, [])}),
            }
            for way, order in found.items():
                self._found[way][question.question_id] = order

    def search(self, way: str) -> Callable[[Question, int], list[str]]:
        """One way of searching, for `measure_page_recall`."""
        return lambda question, k: self._found[way][question.question_id][:k]

    def each(self, way: str, questions: Sequence[Question], k: int = 5) -> list[float]:
        """Recall@k of every question."""
        return [recall_at(self._found[way][q.question_id], set(q.gold_pages), k) for q in questions]

    def against(self, questions: Sequence[Question]) -> PairedTest:
        """Today's recall@5 less the former one's, with its interval over documents."""
        documents = [question.metadata["document_id"] for question in questions]
        return paired_difference(self.each(FORMER_WAY, questions), self.each("now", questions), clusters=documents)


def by_weights(found: Ranked, weights: Any) -> list[str]:
    """The first candidates in the order of other weights."""
    scores = (found.features @ weights).tolist()
    return [page_id for _, page_id in sorted(zip((-score for score in scores), found.first, strict=True))]


def _fused(rankings: Mapping[str, Sequence[str]]) -> list[str]:
    return [page_id for page_id, _ in reciprocal_rank_fusion(rankings, FORMER)]


def main(home: Path) -> dict[str, Any]:
    """Measure with and without OCR and on the made reports, in the whole corpus and within the document."""
    if not (DATA / "documents").is_dir():
        raise DataError("../shared/data/mmlongbench-doc is not there: this measurement needs it")
    results: list[dict[str, Any]] = []
    raw: dict[str, Any] = {}
    by_source: dict[str, dict[str, float]] = {}
    corpora = home / "bench" / "corpora"
    for mode in ["never", "auto"] if ocr.available() else ["never"]:
        index = open_index(corpora / f"mmlongbench-{mode}", mode)
        read = mmlongbench.read(DATA / "samples_subset.json", PageResolver(index.documents()))
        questions = [q for q in read.questions if q.gold_pages]
        sources = {page.page_id: page.text_source for page in index.pages()}
        for within in (False, True):
            scope = f"{'within the document' if within else 'whole set'}, {'OCR' if mode == 'auto' else 'no OCR'}"
            asked = Asked(index, questions, within=within)
            raw |= figures(scope, asked, questions)
            odd = [q for q in questions if not even(q)]
            raw |= figures(f"{scope}, odd documents", asked, odd)
            results.append(row(f"page recall@5, {scope}, odd documents", asked, odd, GOALS[mode][within]))
            for source, chosen in by_evidence(questions, sources).items():
                found = measure_page_recall(source, asked.search("now"), chosen)
                by_source.setdefault(source, {"questions": len(chosen)})[scope] = round(found.recall[5], 3)
    index, questions = open_reports(corpora, CONFIG)
    whole, inside = (Asked(index, questions, within=within) for within in (False, True))
    held = [question for question in questions if not halved(question.metadata["company"])]
    for name, chosen in (("made reports", questions), ("made reports, held out", held)):
        raw |= figures(f"{name}, whole set", whole, chosen) | figures(f"{name}, within the document", inside, chosen)
        former, now = (fmean(inside.each(way, chosen)) for way in (FORMER_WAY, "now"))
        results += [
            row(f"page recall@5, {name}, within the document", inside, chosen, former),
            row(f"page recall@5, {name}, whole set", whole, chosen, RATIO * now),
        ]
    for source, values in sorted(by_source.items()):
        print(f"  {source:40s} {values}")
    return {"results": results, "raw": raw, "by_source": by_source}


def figures(scope: str, asked: Asked, questions: Sequence[Question]) -> dict[str, Any]:
    """All figures of every way of searching, printed and returned."""
    found = {}
    for way in WAYS:
        measured = measure_page_recall(way, asked.search(way), questions)
        recall = " ".join(f"R@{k} {share:.3f}" for k, share in measured.recall.items())
        print(f"{scope:44s} {way:30s} {recall} MRR {measured.mrr:.3f} ceiling@5 {measured.ceiling[5]:.3f}")
        found[f"{scope}, {way}"] = asdict(measured)
    return found


def by_evidence(questions: Sequence[Question], sources: dict[str, str]) -> dict[str, list[Question]]:
    """Questions by kind of evidence and by where the text of their gold pages comes from."""
    groups: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        for kind in question.evidence_sources:
            groups[f"evidence: {kind}"].append(question)
        for source in {sources[page_id] for page_id in question.gold_pages}:
            groups[f"text: {source}"].append(question)
    return dict(groups)


def row(name: str, asked: Asked, questions: Sequence[Question], goal: float) -> dict[str, Any]:
    """One line of the summary, with the difference from the former search."""
    value, change = fmean(asked.each("now", questions)), asked.against(questions)
    told = f"{change.difference:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
    print(f"{name}: {value:.3f}, {told} against the fusion of c773eb6")
    return {
        "name": name,
        "value": round(value, 4),
        "unit": "share",
        "goal": f">= {goal:.4g}",
        "met": value >= goal,
        "former": round(fmean(asked.each(FORMER_WAY, questions)), 4),
        "difference": [round(part, 4) for part in (change.difference, change.low, change.high)],
    }
