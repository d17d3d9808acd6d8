"""The environment: search, select, crop and answer on an index of pages.

What a reply *means* for the episode is decided by pure functions (`observation_of`, `record`); `Environment` only adds
what needs the index: ranked pages, page sizes, and the pixels of a crop for the blank check. Nothing a policy writes
raises; a malformed reply becomes a retry message. The environment keeps no episode: all of it is in `EpisodeState`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from visor_core.agent.actions import parse
from visor_core.agent.context import build_prompt
from visor_core.agent.correction import crop_reference, frame_of, page_reference, page_region
from visor_core.agent.evidence import EvidenceSpace
from visor_core.agent.prompts import wording
from visor_core.agent.record import record, standing_note
from visor_core.agent.state import EpisodeState, display_name, must_force, outcome
from visor_core.agent.trajectory import Action, Observation, Outcome, Turn
from visor_core.agent.untrusted import neutralise, quoted
from visor_core.config import AgentConfig, IndexConfig
from visor_core.errors import DocumentError
from visor_core.policies.base import Completion, ImageRef, Prompt
from visor_core.questions import Question

if TYPE_CHECKING:
    from PIL import Image


SearchMode = Literal["text", "vector", "hybrid"]


class Hit(Protocol):
    """One ranked page."""

    @property
    def page_id(self) -> str: ...


class PageRecord(Protocol):
    """What the agent needs to know of a page."""

    @property
    def filename(self) -> str: ...
    @property
    def page(self) -> int: ...
    @property
    def width_pt(self) -> float: ...
    @property
    def height_pt(self) -> float: ...


class SearchIndex(Protocol):
    """A pinned index of pages (`visor_core.index.PageIndex` is one)."""

    @property
    def tag(self) -> str: ...

    def search(self, query: str, *, k: int = 10, mode: SearchMode = "hybrid", partition: str = "") -> Sequence[Hit]:
        """The best `k` pages, best first."""
        ...

    def page(self, page_id: str) -> PageRecord:
        """One page's record."""
        ...

    def __call__(self, ref: ImageRef) -> Image.Image:
        """The picture a reference names."""
        ...


@runtime_checkable
class NamedIndex(Protocol):
    """An index that says which corpus it is of, and has a digest of what it holds."""

    @property
    def corpus_name(self) -> str: ...
    @property
    def data_version(self) -> str: ...


@dataclass(frozen=True, slots=True)
class PageFacts:
    """A page's name safe for prompts, its 1-based number and its size in points."""

    name: str
    page: int
    size: tuple[float, float]


class Environment:
    """Search, select, crop and answer on one index under one configuration; may serve any number of episodes."""

    def __init__(self, index: SearchIndex, config: AgentConfig, index_config: IndexConfig | None = None) -> None:
        self.index = index
        self.config = config
        self.index_config = index_config or IndexConfig()
        self._wording = wording(config)
        self._pages: dict[str, PageFacts] = {}

    @property
    def corpus_name(self) -> str:
        """The name of the corpus; empty for an index that has none."""
        return self.index.corpus_name if isinstance(self.index, NamedIndex) else ""

    def identity(self) -> dict[str, Any]:
        """All that decides what comes back for an action, as JSON values; where embedders run is left out."""
        return {
            "corpus": self.corpus_name,
            "index_tag": self.index.tag,
            "content": self.index.data_version if isinstance(self.index, NamedIndex) else "",
            "agent": self.config.model_dump(mode="json"),
            "index": self.index_config.model_dump(mode="json", exclude={"device"}),
        }

    def start(self, question: Question) -> EpisodeState:
        """The first state; with `first_search="question"` its first turn is the environment's own search."""
        state = EpisodeState(question)
        if self.config.first_search != "question":
            return state
        words = neutralise(question.question)
        reply = Completion(text=f"<think>{words}</think><search>{words}</search>", sampled=False)
        action = Action("search", words, thought=words)
        return self._turn(state, build_prompt(state, self.config), reply, action, forced=True)

    async def start_async(self, question: Question) -> EpisodeState:
        """`start` without blocking the event loop: a first search runs in a thread."""
        if self.config.first_search == "question":
            return await asyncio.to_thread(self.start, question)
        return self.start(question)

    def prompt(self, state: EpisodeState) -> Prompt:
        """The context of the next turn."""
        return build_prompt(state, self.config)

    def outcome(self, state: EpisodeState) -> Outcome | None:
        """How the episode ended, or None while it runs."""
        return outcome(state, self.config)

    def step(self, state: EpisodeState, completion: Completion, prompt: Prompt | None = None) -> EpisodeState:
        """The state after one reply. `prompt` saves rebuilding the context the reply answers."""
        completion, action = self._read(completion)
        return self._turn(state, prompt or self.prompt(state), completion, action)

    async def step_async(
        self, state: EpisodeState, completion: Completion, prompt: Prompt | None = None
    ) -> EpisodeState:
        """`step` without blocking the event loop: searches and crops run in a thread, the rest is done at once."""
        completion, action = self._read(completion)
        turn = (state, prompt or self.prompt(state), completion, action)
        return await asyncio.to_thread(self._turn, *turn) if action.kind in ("search", "crop") else self._turn(*turn)

    def _read(self, completion: Completion) -> tuple[Completion, Action]:
        """What a reply asks for, and the reply as it can be stored."""
        text = completion.text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates cannot be stored
        if text != completion.text:
            completion = replace(completion, text=text)
        action = parse(
            completion.text,
            search=self.config.search_enabled,
            crop=self.config.crop_enabled,
            select=self.config.select_enabled,
        )
        if action.text == "no action" and action.kind == "invalid" and completion.finish_reason == "length":
            action = replace(action, text="cut off")
        return completion, action

    def _turn(
        self, state: EpisodeState, prompt: Prompt, completion: Completion, action: Action, *, forced: bool = False
    ) -> EpisodeState:
        if must_force(state, self.config):
            action, forced = _forced_reading(action), True
        evidence = record(state, action, self.config, self.facts)
        note = standing_note(state, action, evidence, self.config)
        began = time.perf_counter()
        observation = self._observe(state, action, evidence, note)
        observation = replace(observation, seconds=time.perf_counter() - began)
        added = evidence.entries[len(state.evidence.entries) :]
        return state.with_turn(
            Turn(len(state.turns) + 1, prompt, completion, action, observation, tuple(added), forced=forced)
        )

    def _observe(self, state: EpisodeState, action: Action, evidence: EvidenceSpace, note: str) -> Observation:
        """What comes back for an action."""
        if action.kind == "answer":
            return Observation("final")
        if action.kind == "search":
            return self._search(state, action.text, note)
        if action.kind == "select":
            return self._select(state, action.choice or 0, note)
        if action.kind == "crop" and action.box is not None:
            return self._crop(state, action.box, evidence, note)
        return self._retry(action.text, note)

    def _retry(self, fault: str, note: str) -> Observation:
        return Observation("retry", message=self._wording.label("retry", (), (), fault, note), fault=fault)

    def _search(self, state: EpisodeState, query: str, note: str) -> Observation:
        """The best pages not seen yet, or word that the results are used up."""
        hits = self.index.search(
            query, k=self.index_config.top_k, mode=self.index_config.mode, partition=state.question.partition
        )
        ranking = tuple(dict.fromkeys(hit.page_id for hit in hits))
        seen = state.pages_seen if self.config.exclude_seen else frozenset()
        wanted = self.config.select_candidates if self.config.select_enabled else self.config.pages_per_search
        pages = [page_id for page_id in ranking if page_id not in seen][:wanted]
        if not pages:
            fault = "exhausted" if ranking else "no results"
            message = self._wording.label("exhausted", (), (), fault, note)
            return Observation("exhausted", message=message, ranking=ranking, fault=fault)
        return self._show("candidates" if self.config.select_enabled else "page", pages, ranking, note)

    def _select(self, state: EpisodeState, choice: int, note: str) -> Observation:
        """The chosen candidate in full; an unreadable or impossible choice means the first (UniDoc-RL)."""
        candidates = state.candidates
        if not candidates:
            return self._retry("no candidates", note)
        chosen = candidates[choice - 1 if 1 <= choice <= len(candidates) else 0]
        return self._show("page", [chosen.page_id], (), note)

    def _show(self, kind: str, pages: Sequence[str], ranking: tuple[str, ...], note: str) -> Observation:
        images = tuple(page_reference(p, self.facts(p).size, self.config.image) for p in pages)
        names = [_caption(self.facts(p)) for p in pages]
        message = self._wording.label(kind, names, images, "", note)
        return Observation("candidates" if kind == "candidates" else "page", images, message, ranking)

    def _crop(
        self, state: EpisodeState, box: tuple[float, float, float, float], evidence: EvidenceSpace, note: str
    ) -> Observation:
        """The region asked for, or the fault that the model-free checks found in it."""
        if state.candidates:
            return self._retry("choose first", note)
        page = state.current_page
        if page is None:
            return self._retry("no page", note)
        facts = self.facts(page.page_id)
        region = page_region(
            box,
            frame_of(page, self.config.coordinates),
            facts.size,
            self.config.crop,
            state.crops_of(page.page_id),
            check=self.config.correction,
        )
        if region.box is None:
            return self._retry(region.fault, note or self._reading_before(evidence, page.page_id))
        shown = crop_reference(page.page_id, region.box, facts.size, self.config.image)
        if self.config.correction and self.config.crop.blank_std > 0:
            try:
                fault = "blank" if self._is_blank(shown) else ""
            except DocumentError:
                fault = "not drawn"
            if fault:
                return self._retry(fault, note or self._reading_before(evidence, page.page_id))
        message = self._wording.label("crop", [_caption(facts)], (shown,), "", note)
        return Observation("crop", (shown,), message)

    def _reading_before(self, evidence: EvidenceSpace, page_id: str) -> str:
        """After a refused crop: which reading of the page stands."""
        standing = evidence.standing_of(page_id)
        return f"stand {standing[-1].index}" if standing and self.config.evidence.enabled else ""

    def _is_blank(self, shown: ImageRef) -> bool:
        """Whether the grey levels of a crop hardly vary."""
        from PIL import ImageStat

        return ImageStat.Stat(self.index(shown).convert("L")).stddev[0] < self.config.crop.blank_std

    def facts(self, page_id: str) -> PageFacts:
        """A page's safe name, number and size; remembered."""
        if page_id not in self._pages:
            page = self.index.page(page_id)
            self._pages[page_id] = PageFacts(display_name(page.filename), page.page, (page.width_pt, page.height_pt))
        return self._pages[page_id]


def _caption(page: PageFacts) -> str:
    return f"{quoted(page.name)}, page {page.page}"


def _forced_reading(action: Action) -> Action:
    """A forced reply is an answer or nothing; its form is not the policy's doing."""
    if action.kind == "answer":
        return Action("answer", action.text, citations=action.citations, well_formed=True)
    return Action("invalid", "not an answer")
