"""An evaluation in MLflow: its figures at the run and at the model that played, its questions as a table that the page
sorts and filters, and a sample of its episodes as traces. The asset `benchmark_results`, `visor eval` and the logging
of a build whose runs were lost all go through `track`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from visor_core.agent.trajectory import Trajectory
from visor_core.evaluation.results import BenchmarkResult, EpisodeResult
from visor_core.tracking import Tracker
from visor_core.trajectories.traces import Shown, flush, log_traces, sampled

if TYPE_CHECKING:
    from visor_core.index import PageIndex

SHARE = 0.03
"""Part of the evaluated episodes written as traces."""
LEAST = 8
"""Episodes written as traces where that part is smaller."""


def track(
    tracker: Tracker,
    run_id: str,
    result: BenchmarkResult,
    episodes: Sequence[Trajectory],
    index: PageIndex | None,
    *,
    name: str = "",
    model_id: str = "",
    kind: str = "development",
) -> None:
    """Log a scored evaluation.

    Args:
        episodes: those of the result, in its order; empty where they are gone, which leaves figures and table.
        index: the corpus at its tag, for names and pictures of pages; none shows ids.
        name: what its figures stand under, where a run holds several evaluations.
        model_id: the logged model that played, if one did.
        kind: what the model's figures stand under.
    """
    prefix = f"{name}/" if name else ""
    metrics = result.metrics()
    tracker.metrics(run_id, {f"{prefix}{key}": value for key, value in metrics.items()})
    if not tracker.knows_model(model_id):
        model_id = ""  # it was played by a build whose own run is not in this store
    if model_id:
        figures = {f"{kind}/{key}": value for key, value in metrics.items()}
        tracker.evaluated(run_id, model_id, figures, dataset=kind, digest=result.questions_version)
    shown = Shown(page_names(index), index) if index is not None else Shown()
    chosen = sampled(episodes, SHARE, LEAST)
    client, experiment = tracker.client, tracker.experiment_id
    traces = log_traces(chosen, client=client, experiment_id=experiment, run_id=run_id, model_id=model_id, shown=shown)
    if chosen:
        flush()
    trace_of = {t.trajectory_id: trace for t, trace in zip(chosen, traces, strict=True)}
    played = {t.trajectory_id: t for t in episodes}
    rows = [
        question_row(row, played.get(row.trajectory_id), shown.name_of, trace_of.get(row.trajectory_id, ""))
        for row in result.episodes
    ]
    tracker.table(run_id, rows, f"questions/{name or 'all'}.json")


def kind_of(name: str) -> str:
    """What the figures of a run's own evaluation stand under at the model that played: greedy and sampled apart."""
    return "development_sampled" if name.endswith("_sampled") else "development"


def question_row(
    row: EpisodeResult, episode: Trajectory | None, name_of: Callable[[str], str], trace_id: str
) -> dict[str, Any]:
    """A question's line in the table: what was asked, answered and expected, whether it is right, and how it went.

    MLflow's page groups by the first column, and compares runs by the second.
    """
    question = episode.question if episode else None
    return {
        "question": question.question if question else row.question_id,
        "answer": row.answer,
        "expected": " | ".join(question.answers) if question else "",
        "correct": row.right,
        "supported": row.supported,
        "score": row.score,
        "outcome": row.outcome,
        "hops": row.hops,
        "turns": row.turns,
        "searches": row.searches,
        "crops": row.crops,
        "evidence": row.evidence,
        "page_recall": row.page_recall,
        "diagnosis": row.diagnosis,
        "citation_precision": row.behaviour.citations_right if row.behaviour else None,
        "box_f1": row.behaviour.box_f1 if row.behaviour else None,
        "expected_pages": "; ".join(map(name_of, question.gold_pages)) if question else "",
        "cited_pages": "; ".join(f"{c.document}, page {c.page}" for c in episode.citations) if episode else "",
        "prompt_tokens": row.prompt_tokens,
        "seconds": round(row.seconds, 3),
        "error": row.error,
        "question_id": row.question_id,
        "trace_id": trace_id,
    }


def page_names(index: PageIndex) -> Callable[[str], str]:
    """Page ids as `report.pdf, page 3`; an id that the index does not hold stays itself."""
    from visor_core.index.records import split_page_id

    names = {document.document_id: document.name or document.filename for document in index.documents()}

    def name_of(page_id: str) -> str:
        document, page = split_page_id(page_id)
        return f"{names[document]}, page {page}" if document in names else page_id

    return name_of
