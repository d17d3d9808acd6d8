"""An episode so far: the question and the finished turns. Everything else is derived, so a state cannot disagree with
itself and a stored trajectory gives back every state it went through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from visor_core.agent.evidence import EvidenceSpace
from visor_core.agent.trajectory import Citation, Observation, Outcome, Turn
from visor_core.agent.untrusted import neutralise
from visor_core.config import AgentConfig
from visor_core.geometry import FULL_PAGE, Box
from visor_core.policies.base import ImageRef
from visor_core.questions import Question


class PageName(Protocol):
    """What a page is called: its document's name, safe to stand in a prompt, and its 1-based number."""

    @property
    def name(self) -> str: ...
    @property
    def page(self) -> int: ...


@dataclass(frozen=True, slots=True)
class EpisodeState:
    """The question and the turns so far, oldest first."""

    question: Question
    turns: tuple[Turn, ...] = ()

    @property
    def evidence(self) -> EvidenceSpace:
        """The ledger as it stands."""
        return EvidenceSpace(tuple(e for turn in self.turns for e in turn.evidence_added))

    @property
    def last(self) -> Observation | None:
        """The newest observation."""
        return self.turns[-1].observation if self.turns else None

    @property
    def pages_seen(self) -> frozenset[str]:
        """Page ids shown so far, candidates included."""
        return frozenset(image.page_id for turn in self.turns for image in turn.observation.images)

    @property
    def page_view(self) -> Observation | None:
        """The observation that showed a page in full last. None while candidates wait for a choice."""
        view = self._shown_last
        return view if view and view.kind == "page" else None

    @property
    def choice_view(self) -> Observation | None:
        """The observation whose candidates wait for a choice: those of the newest search, until a page is shown."""
        view = self._shown_last
        return view if view and view.kind == "candidates" else None

    @property
    def _shown_last(self) -> Observation | None:
        """The newest observation that showed pages or candidates."""
        seen = (turn.observation for turn in reversed(self.turns))
        return next((o for o in seen if o.kind in ("page", "candidates")), None)

    @property
    def current_page(self) -> ImageRef | None:
        """The page a crop refers to: the one shown last in full. None while candidates wait for a choice."""
        view = self.page_view
        return view.images[-1] if view else None

    @property
    def candidates(self) -> tuple[ImageRef, ...]:
        """Candidates still waiting for a choice."""
        view = self.choice_view
        return view.images if view else ()

    def crops_of(self, page_id: str) -> tuple[Box, ...]:
        """Regions of a page already shown as crops."""
        return tuple(
            image.box
            for turn in self.turns
            if turn.observation.kind == "crop"
            for image in turn.observation.images
            if image.page_id == page_id
        )

    @property
    def answered(self) -> bool:
        """Whether the last turn gave an answer."""
        return bool(self.turns) and self.turns[-1].action.kind == "answer"

    def with_turn(self, turn: Turn) -> EpisodeState:
        """The state one turn later."""
        return replace(self, turns=(*self.turns, turn))


def is_last_turn(state: EpisodeState, config: AgentConfig) -> bool:
    """Whether the next turn is the last one the policy may use freely."""
    return len(state.turns) + 1 == config.max_turns


def must_force(state: EpisodeState, config: AgentConfig) -> bool:
    """Whether the free turns are used up and the next completion is a forced answer."""
    return config.force_answer and not state.answered and len(state.turns) == config.max_turns


def outcome(state: EpisodeState, config: AgentConfig) -> Outcome | None:
    """How the episode ended, or None while it runs."""
    if state.answered:
        return "forced" if state.turns[-1].forced else "answered"
    limit = config.max_turns + (1 if config.force_answer else 0)
    return "turn_limit" if len(state.turns) >= limit else None


def citations(state: EpisodeState, facts: Callable[[str], PageName]) -> tuple[Citation, ...]:
    """Where the answer's evidence stands: the entries it cites, else all standing entries, else the pages last shown.

    A superseded entry stands for the one that took its place, a rejected one for nothing. Every citation has a
    document, a page and a box (the whole page where nothing smaller was read).

    Args:
        facts: a page's name and number by its id.
    """
    if not state.answered:
        return ()
    evidence = state.evidence
    cited = [e for n in state.turns[-1].action.citations if (e := evidence.standing_for(n)) is not None]
    entries = cited or list(evidence.standing)
    if entries:
        return tuple(dict.fromkeys(Citation(e.page_id, e.document, e.page, e.box or FULL_PAGE) for e in entries))
    shown = next((t.observation for t in reversed(state.turns) if t.observation.images), None)
    if shown is None:
        return ()
    return tuple(Citation(i.page_id, page.name, page.page, i.box) for i in shown.images for page in [facts(i.page_id)])


def display_name(filename: str) -> str:
    """A file name safe to stand in a prompt, at most 120 characters.

    A longer one keeps its beginning, which tells it from others of the same file name, and its end; letters of its hash
    stand for the middle, so that two names stay two.
    """
    name = neutralise(filename)
    if len(name) <= 120:
        return name
    return f"{name[:73]}…{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:6]}…{name[-39:]}"
