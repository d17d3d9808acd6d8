"""The kinds of stress: each a row of conditions along one degree, made of a question set and an index.

`distractors` and `noise` are after DR3-Eval (arXiv 2604.14683): the questions of some documents are asked of a corpus
of these and a set number of others for each, the nearest to the questions first, or of generated pages of words that
the corpus uses. `hops` asks the questions by the number of pages they need; `turns` and `resolution` override
settings; `blur`, `scan` and `rotation` change every page of the documents that are asked about.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from visor_core.config import Profile
from visor_core.errors import ConfigError, DataError
from visor_core.evaluation.benchmarks.resolve import LeftOut
from visor_core.index import PageIndex
from visor_core.questions import Question
from visor_core.stress.conditions import Condition, documents_of
from visor_core.stress.derived import Change
from visor_core.stress.edits import Blur, Coarsen, Edit, Turn
from visor_core.stress.noise import write_noise

NOT_CHOSEN = "its documents are not all among those the corpus is reduced to"
NO_PAGES = "gold pages not known"
OTHER_HOPS = "it needs another number of pages"
_DEPTH = 50
"""Pages of a search by which documents are ranked as distractors."""


@dataclass(frozen=True)
class Ground:
    """What conditions are made of; `folder` is where generated documents go."""

    index: PageIndex
    profile: Profile
    questions: tuple[Question, ...]
    folder: Path
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """Conditions in the order of their degree, and the questions that none of them asks."""

    conditions: tuple[Condition, ...]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of stress: what its degree is called, the degrees where none are given, and how it is made."""

    label: str
    degrees: tuple[float, ...]
    make: Callable[[Ground, Sequence[float]], Row]
    whole: bool = False
    """Whether degrees are whole numbers."""


def _crowded(ground: Ground, degrees: Sequence[float], *, generated: bool) -> Row:
    """Conditions with so many more documents for each document that is asked about."""
    most = max(degrees)
    kept, asked, others = _reduced(ground, 0.0 if generated else most)
    left_out = _unasked(ground.questions, asked, NOT_CHOSEN)
    everything = {document.document_id for document in ground.index.documents()}
    conditions = []
    for degree in degrees:
        beside: set[str] = set()
        added: dict[Path, str] = {}
        for partition, base in kept.items():
            count = round(degree * len(base))
            if generated:
                name = f"{partition or 'corpus'}"
                added |= dict.fromkeys(write_noise(ground.index, ground.folder / name, count, ground.seed), partition)
            else:
                beside |= set(others[partition][:count])
        stay = {document for base in kept.values() for document in base} | beside
        name = f"{degree:g} for each document"
        conditions.append(Condition(name, degree, asked, Change({}, added, frozenset(everything - stay))))
    return Row(tuple(conditions), left_out)


def _reduced(ground: Ground, most: float) -> tuple[dict[str, list[str]], tuple[Question, ...], dict[str, list[str]]]:
    """Documents that stay, by partition; the questions about them alone; all others, nearest to these first.

    Raises:
        DataError: if there are too few documents for the largest degree.
    """
    partitions = {d.document_id: d.partition for d in ground.index.documents() if d.status == "ok"}
    gold = sorted({document for question in ground.questions for document in documents_of(question)})
    kept: dict[str, list[str]] = {}
    rng = random.Random(f"distractors/{ground.seed}")
    for partition in sorted(set(partitions.values())):
        here = [document for document in gold if partitions.get(document) == partition]
        there = sum(p == partition for p in partitions.values())
        count = min(len(here), math.floor(there / (1 + most)))
        if count:
            kept[partition] = sorted(rng.sample(here, count))
    chosen = {document for base in kept.values() for document in base}
    asked = tuple(q for q in ground.questions if q.gold_pages and documents_of(q) <= chosen)
    if not asked:
        raise DataError(
            f"no question is about {len(chosen)} of the {len(partitions)} documents alone, which is as many as leave"
            f" {most:g} others for each: ask for fewer with --at"
        )
    others = {
        partition: _nearest(
            ground.index, partition, [d for d, p in partitions.items() if p == partition], chosen, asked
        )
        for partition in kept
    }
    return kept, asked, others


def _nearest(
    index: PageIndex, partition: str, documents: Sequence[str], chosen: set[str], asked: Sequence[Question]
) -> list[str]:
    """Documents that were not chosen, those first whose pages the questions' searches rank best."""
    worth = {document: 0.0 for document in sorted(documents) if document not in chosen}
    for question in asked:
        if question.partition not in ("", partition):
            continue
        for rank, hit in enumerate(index.search(question.question, k=_DEPTH, partition=partition), start=1):
            if hit.document_id in worth:
                worth[hit.document_id] += 1.0 / rank
    return sorted(worth, key=lambda document: (-worth[document], document))


def _hops(ground: Ground, degrees: Sequence[float]) -> Row:
    """The questions by the number of pages they need."""
    asked = [question for question in ground.questions if question.gold_pages]
    conditions = []
    for degree in degrees:
        chosen = tuple(question for question in asked if question.hops == degree)
        if chosen:
            conditions.append(Condition(f"{degree:g} pages", degree, chosen))
    if not conditions:
        raise DataError(f"no question needs {' or '.join(f'{degree:g}' for degree in degrees)} pages: see --at")
    used = [question for condition in conditions for question in condition.questions]
    left_out = (*_unasked(ground.questions, asked, NO_PAGES), *_unasked(asked, used, OTHER_HOPS))
    return Row(tuple(conditions), left_out)


def _settings(
    name: Callable[[float], str], values: Callable[[Profile, float], dict[str, object]]
) -> Callable[..., Row]:
    """Conditions that differ in settings alone."""

    def make(ground: Ground, degrees: Sequence[float]) -> Row:
        return Row(
            tuple(
                Condition(name(degree), degree, ground.questions, settings=values(ground.profile, degree))
                for degree in degrees
            )
        )

    return make


def _pixels(profile: Profile, most: float) -> dict[str, object]:
    """Settings under which a page is shown at no more pixels than these.

    Raises:
        ConfigError: if the smallest picture that the policy is shown has more.
    """
    side = profile.agent.image.multiple
    if most < side * side:
        raise ConfigError(
            f"--at {most:g}: a shown page has {side * side:,} pixels at least (agent.image.multiple {side}), so that"
            f" fewer change nothing: give degrees from there; `visor stress scan` makes the pages themselves coarser"
        )
    least = min(profile.agent.image.min_pixels, int(most))
    return {"agent.image.max_pixels": int(most), "agent.image.min_pixels": least}


def _pages(name: Callable[[float], str], edit: Callable[[float], Edit]) -> Callable[..., Row]:
    """Conditions that change every page of the documents that are asked about; degree 0 changes none."""

    def make(ground: Ground, degrees: Sequence[float]) -> Row:
        asked = tuple(question for question in ground.questions if question.gold_pages)
        documents = sorted({document for question in asked for document in documents_of(question)})
        conditions = [
            Condition(name(degree), degree, asked, Change(dict.fromkeys(documents, (edit(degree),)) if degree else {}))
            for degree in degrees
        ]
        return Row(tuple(conditions), _unasked(ground.questions, asked, NO_PAGES))

    return make


def _unasked(questions: Sequence[Question], asked: Sequence[Question], reason: str) -> tuple[LeftOut, ...]:
    names = {question.question_id for question in asked}
    return tuple(LeftOut(q.question_id, reason, q.question) for q in questions if q.question_id not in names)


KINDS: dict[str, Kind] = {
    "distractors": Kind(
        "other documents for each document asked about",
        (0, 1, 2, 4),
        lambda ground, degrees: _crowded(ground, degrees, generated=False),
    ),
    "noise": Kind(
        "documents of noise for each document asked about",
        (0, 1, 2, 4),
        lambda ground, degrees: _crowded(ground, degrees, generated=True),
    ),
    "hops": Kind("pages that a question needs", (1, 2, 3, 4, 5), _hops, whole=True),
    "turns": Kind(
        "turns before an answer is forced",
        (1, 2, 3, 4, 6, 8, 10),
        _settings(lambda turns: f"{turns:g} turns", lambda profile, turns: {"agent.max_turns": int(turns)}),
        whole=True,
    ),
    "resolution": Kind(
        "most pixels of a shown page",
        (25_088, 50_176, 100_352, 200_704, 401_408),
        _settings(lambda pixels: f"{pixels:g} pixels", _pixels),
        whole=True,
    ),
    "blur": Kind(
        "radius of the blur in points",
        (0, 1, 2, 4, 8),
        _pages(lambda radius: f"blurred by {radius:g} pt", Blur),
    ),
    "scan": Kind(
        "dots per inch of the pages' pictures",
        (9, 18, 36, 72, 144),
        _pages(lambda dpi: f"{dpi:g} dpi", Coarsen),
        whole=True,
    ),
    "rotation": Kind(
        "degrees by which pages are turned",
        (0, 2, 5, 10, 90, 180),
        _pages(lambda degrees: f"turned by {degrees:g}°", Turn),
    ),
}
"""The kinds by name; `injections` is no curve, and of its own form."""
