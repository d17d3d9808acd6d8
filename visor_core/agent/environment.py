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
from visor_core.agent.citations import split_citations
from visor_core.agent.context import build_prompt
from visor_core.agent.correction import crop_reference, frame_of, page_reference, page_region
from visor_core.agent.evidence import EvidenceSpace
from visor_core.agent.prompts import wording
from visor_core.agent.record import record, standing_index, stands_after
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

    def search(
        self, query: str, *, k: int = 10, mode: SearchMode = "hybrid", partition: str = "", where: Sequence[str] = ()
    ) -> Sequence[Hit]:
        """The best `k` pages, best first; `where` as `index.where`."""
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
        if action.kind == "answer":
            # The reply may cite the entry that its own thought makes.
            answer, cited = split_citations(action.text, range(1, len(evidence.entries) + 1))
            action = replace(action, text=answer, citations=cited)
        stands = stands_after(state, action, evidence, self.config)
        began = time.perf_counter()
        observation = self._observe(state, prompt, action, evidence, stands)
        observation = replace(observation, seconds=time.perf_counter() - began)
        added = evidence.entries[len(state.evidence.entries) :]
        return state.with_turn(
            Turn(len(state.turns) + 1, prompt, completion, action, observation, tuple(added), forced=forced)
        )

    def _observe(
        self, state: EpisodeState, prompt: Prompt, action: Action, evidence: EvidenceSpace, stands: int | None
    ) -> Observation:
        """What comes back for an action, given the context it was chosen in; `stands` as in `prompts.Wording`."""
        if action.kind == "answer":
            return Observation("final")
        if action.kind == "search":
            return self._search(state, action.text, stands)
        if action.kind == "select":
            return self._select(state, action.choice or 0, stands)
        if action.kind == "crop" and action.box is not None:
            return self._crop(state, prompt, action.box, evidence, stands)
        return self._retry(action.text, stands)

    def _retry(self, fault: str, stands: int | None) -> Observation:
        return Observation("retry", message=self._wording.retry(fault, stands), fault=fault)

    def _search(self, state: EpisodeState, query: str, stands: int | None) -> Observation:
        """The best pages not seen yet, or word that the results are used up."""
        config = self.index_config
        partition = state.question.partition
        hits = self.index.search(query, k=config.top_k, mode=config.mode, partition=partition, where=config.where)
        ranking = tuple(dict.fromkeys(hit.page_id for hit in hits))
        seen = state.pages_seen if self.config.exclude_seen else frozenset()
        wanted = self.config.select_candidates if self.config.select_enabled else self.config.pages_per_search
        pages = [page_id for page_id in ranking if page_id not in seen][:wanted]
        if not pages:
            fault = "exhausted" if ranking else "no results"
            message = self._wording.nothing_new(found=bool(ranking), stands=stands)
            return Observation("exhausted", message=message, ranking=ranking, fault=fault)
        images, names = self._views(pages)
        if self.config.select_enabled:
            return Observation(
                "candidates", images, self._wording.candidates(names, stands), ranking=ranking, names=names
            )
        return Observation("page", images, self._wording.pages(names, images, stands), ranking=ranking, names=names)

    def _select(self, state: EpisodeState, choice: int, stands: int | None) -> Observation:
        """The chosen candidate in full; an unreadable or impossible choice means the first (UniDoc-RL)."""
        candidates = state.candidates
        if not candidates:
            return self._retry("no candidates", stands)
        chosen = candidates[choice - 1 if 1 <= choice <= len(candidates) else 0]
        images, names = self._views([chosen.page_id])
        return Observation("page", images, self._wording.pages(names, images, stands), names=names)

    def _views(self, pages: Sequence[str]) -> tuple[tuple[ImageRef, ...], tuple[str, ...]]:
        """Pages as they are shown, and what each is called."""
        facts = [self.facts(page) for page in pages]
        images = (page_reference(p, f.size, self.config.image) for p, f in zip(pages, facts, strict=True))
        return tuple(images), tuple(_caption(f) for f in facts)

    def _crop(
        self,
        state: EpisodeState,
        prompt: Prompt,
        box: tuple[float, float, float, float],
        evidence: EvidenceSpace,
        stands: int | None,
    ) -> Observation:
        """The region asked for, or the fault that the model-free checks found in it."""
        if state.candidates:
            return self._retry("choose first", stands)
        page = state.current_page
        if page is None:
            return self._retry("no page", stands)
        if page not in prompt.images:  # an image budget left no room for it: the box is a guess
            return self._retry("page gone", stands)
        # A refused box, too, leaves the reading of the page that there was.
        before = stands if stands is not None else standing_index(evidence, page.page_id, self.config)
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
            return self._retry(region.fault, before)
        shown = crop_reference(page.page_id, region.box, facts.size, self.config.image)
        if self.config.correction and self.config.crop.blank_std > 0:
            try:
                fault = "blank" if self._is_blank(shown) else ""
            except DocumentError:
                fault = "not drawn"
            if fault:
                return self._retry(fault, before)
        name = _caption(facts)
        return Observation("crop", (shown,), self._wording.crop(name, shown, stands), names=(name,))

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
        return Action("answer", action.text, well_formed=True)
    return Action("invalid", "not an answer")
