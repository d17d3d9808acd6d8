"""A row a question for the lists of a page: what was asked, expected and answered, how it went, where to look.

The columns are declared once; what an older result or another question set does not say leaves its column out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from visor_core.agent.trajectory import Trajectory
from visor_core.evaluation.explorer import Cell, Column
from visor_core.evaluation.results import BenchmarkResult, EpisodeResult

RIGHT, WRONG, SILENT, FAILED, UNSCORED = "right", "wrong", "no answer", "failed", "not scored"
YES, NO = "yes", "no"
COLUMNS = (
    Column("question", wide=True),
    Column("expected"),
    Column("answer", wide=True),
    Column("outcome", "chip", filter=True, good=(RIGHT,), bad=(WRONG, FAILED, SILENT)),
    Column("supported", "chip", filter=True, good=(YES,)),
    Column("diagnosis", "chip", filter=True),
    Column("result", filter=True),
    Column("benchmark", filter=True),
    Column("questions", "number"),
    Column("kind", filter=True),
    Column("pages needed", "number", filter=True),
    Column("gold pages", "links", wide=True),
    Column("cited pages", "links", wide=True),
    Column("turns", "number"),
    Column("error"),
    Column("episode", "links"),
)


@dataclass(frozen=True)
class Places:
    """Where a row's links lead: what a page is called, its address in its document, the page of an episode by its id.

    Addresses are "" where there is nothing to open.
    """

    name_of: Callable[[str], str] = str
    address_of: Callable[[str], str] = lambda page_id: ""
    episode_page: Callable[[str], str] = lambda trajectory_id: ""


def question_rows(
    label: str, result: BenchmarkResult, episodes: Mapping[str, Trajectory], places: Places
) -> list[dict[str, Cell]]:
    """The rows of one result, in its order.

    Args:
        label: the name of the result.
        episodes: those that are kept, by trajectory id; without its episode a row has no gold and no pages.
    """
    asked = {str(known[0]): str(known[1]) for known in result.identity.get("questions", ())}
    benchmark = f"{result.benchmark} {result.split}".strip()
    count = len(result.episodes)
    return [
        {
            "result": label,
            "benchmark": benchmark,
            "questions": count,
            **_row(row, asked.get(row.question_id, row.question_id), episodes.get(row.trajectory_id), places),
        }
        for row in result.episodes
    ]


def outcome_of(row: EpisodeResult) -> str:
    """How a question came out, in a word or two."""
    if row.failed:
        return FAILED
    if row.score is None:
        return UNSCORED
    return RIGHT if row.right else WRONG if row.answer.strip() else SILENT


def _row(row: EpisodeResult, question: str, episode: Trajectory | None, places: Places) -> dict[str, Cell]:
    page = places.episode_page(row.trajectory_id)
    gold = episode.question.gold_pages if episode else ()
    cited = dict.fromkeys(c.page_id for c in episode.citations) if episode else {}
    return {
        "question": episode.question.question if episode else question,
        "expected": " | ".join(episode.question.answers) if episode else "",
        "answer": row.answer,
        "outcome": outcome_of(row),
        "supported": "" if row.score is None or row.failed else YES if row.supported else NO,
        "diagnosis": str(getattr(row, "diagnosis", "") or ""),
        "kind": str(getattr(row, "kind", "") or ""),
        "pages needed": row.hops if row.answerable else None,
        "gold pages": _links(gold, places),
        "cited pages": _links(cited, places),
        "turns": row.turns,
        "error": row.error,
        "episode": [("look", page)] if page else [],
    }


def _links(pages: Iterable[str], places: Places) -> list[tuple[str, str]]:
    return [(places.name_of(page), places.address_of(page)) for page in pages]
