"""A condition: what is changed about the documents, the settings and the questions of an evaluation, and by how much.

Every condition is played by the ordinary player on the corpus that its change makes (`derived`), so that its episodes
are kept and found again like those of any evaluation. A stress is a row of conditions along one degree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from visor_core.agent.environment import Environment, SearchIndex
from visor_core.config import Profile, derived
from visor_core.evaluation.benchmarks.resolve import LeftOut
from visor_core.evaluation.results import BenchmarkResult
from visor_core.evaluation.runner import score
from visor_core.index import PageIndex
from visor_core.policies.base import Policy
from visor_core.questions import Question
from visor_core.stress.derived import Change, Derived, derive
from visor_core.trajectories.playing import Played, play

PolicyOn = Callable[[PageIndex, Profile, Sequence[Question]], Policy]
"""The policy that plays on an index under a profile, for questions it may know."""
SearchedBy = Callable[[PageIndex, Sequence[Question]], SearchIndex]
"""What a policy's searches are made on: the index, or the part of it that a baseline is shown."""


@dataclass(frozen=True)
class Condition:
    """One way to ask questions: `x` is its degree, `settings` override the profile's as `--set` does."""

    name: str
    x: float
    questions: tuple[Question, ...]
    change: Change = field(default_factory=Change)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """What is measured, and where: a policy under a profile on a corpus."""

    index: PageIndex
    profile: Profile
    policy_on: PolicyOn
    store: Path
    seed: int = 0
    temperature: float = 0.0
    fresh: bool = False
    searched_by: SearchedBy = field(default=lambda index, questions: index)


@dataclass(frozen=True)
class Measured:
    """A condition as it came out; what it is scored on has the page ids of the corpus it was played on."""

    condition: Condition
    corpus: Derived
    played: Played
    result: BenchmarkResult


def measure(
    subject: Subject,
    kind: str,
    condition: Condition,
    *,
    left_out: Sequence[LeftOut] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Make the condition's corpus, play its questions, score them.

    Args:
        kind: a word for the name of the corpus.
        left_out: questions that the condition cannot ask; reported with its result.
        progress: called with (episodes finished, episodes wanted).

    Raises:
        VisorError: if the corpus cannot be made, or the policy fails for good.
    """
    profile = derived(subject.profile, dict(condition.settings), f"visor stress {kind}")
    corpus = derive(subject.index, condition.change, kind, profile.documents)
    folder = subject.index.corpus.root.with_name(corpus.name)
    index = PageIndex.under(folder, corpus.tag, profile)
    try:
        asked = [on(corpus, question) for question in condition.questions]
        played = play(
            subject.policy_on(index, profile, asked),
            Environment(subject.searched_by(index, asked), profile.agent, profile.index),
            asked,
            seed=subject.seed,
            temperature=subject.temperature,
            concurrency=profile.evaluation.concurrency,
            store=subject.store,
            progress=progress,
            fresh=subject.fresh,
        )
    finally:
        index.close()
    return Measured(condition, corpus, played, score(played, left_out))


def on(corpus: Derived, question: Question) -> Question:
    """A question with its gold pages as a derived corpus calls them."""
    return replace(
        question,
        gold_pages=tuple(corpus.page_id(page) for page in question.gold_pages),
        gold_facts=tuple(replace(fact, page_id=corpus.page_id(fact.page_id)) for fact in question.gold_facts),
    )


def documents_of(question: Question) -> frozenset[str]:
    """The documents that hold a question's gold pages."""
    return frozenset(page.rpartition("/")[0] for page in question.gold_pages)
