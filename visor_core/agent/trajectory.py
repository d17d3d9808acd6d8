"""The record of an episode: what was shown, what was written, what came back, what was kept.

Everything is a frozen value made of references (page, box, shown size), never pixels, so that a stored trajectory
replays to identical contexts. `visor_core.trajectories.store` writes these to disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from visor_core.agent.correction import chosen_box, frame_of
from visor_core.geometry import Box
from visor_core.policies.base import Completion, ImageRef, Prompt
from visor_core.questions import Question

ActionKind = Literal["search", "select", "crop", "answer", "invalid"]
Verdict = Literal["keep", "reject"]
ObservationKind = Literal["page", "candidates", "crop", "retry", "exhausted", "final"]
Outcome = Literal["answered", "forced", "turn_limit", "error"]
EntryKind = Literal["pre", "post", "rejected"]


@dataclass(frozen=True, slots=True)
class Action:
    """What one reply asks for.

    `text` is the query (search), the answer without its citations (answer) or the fault (invalid). `box` is the raw
    rectangle in the model's own units (crop). `choice` is the 1-based candidate (select). `thought` is the text inside
    `<think>`; `verdict` the judgement of the last observation; `citations` the 1-based evidence entries cited by an
    answer. `well_formed` is strict: exactly one thought and one action with nothing else around them.
    """

    kind: ActionKind
    text: str = ""
    box: tuple[float, float, float, float] | None = None
    choice: int | None = None
    thought: str = ""
    verdict: Verdict | None = None
    citations: tuple[int, ...] = ()
    well_formed: bool = True


@dataclass(frozen=True, slots=True)
class EvidenceEntry:
    """One line of the append-only Evidence Space; `index` is 1-based, `supersedes` names the entry it replaces."""

    index: int
    page_id: str
    document: str
    page: int
    observation: str
    kind: EntryKind = "pre"
    box: Box | None = None
    supersedes: int | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What the environment returned for an action.

    `images` are the pictures now shown (one; up to three for `candidates`), `names` what each is of, safe to stand in a
    prompt (`"report.pdf", page 3`). `message` is the injected text. `ranking` holds the page ids a search returned,
    best first, before the seen pages were left out. `fault` names what was wrong (`retry`, or a crop refused by the
    model-free checks). `seconds` is how long it took to make, 0 where that was not measured; observations that differ
    in it alone are equal.
    """

    kind: ObservationKind
    images: tuple[ImageRef, ...] = ()
    message: str = ""
    ranking: tuple[str, ...] = ()
    fault: str = ""
    seconds: float = field(default=0.0, compare=False)
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: the rebuilt context, the reply, its meaning, what came back and what entered the Evidence Space."""

    index: int
    prompt: Prompt
    completion: Completion
    action: Action
    observation: Observation
    evidence_added: tuple[EvidenceEntry, ...] = ()
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Citation:
    """Where an answer's evidence stands."""

    page_id: str
    document: str
    page: int
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class ChosenRegion:
    """What a crop asked for: a page, and the box on it before it was padded and grown to be shown."""

    page_id: str
    box: Box


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One finished episode.

    `group_id` is shared by the rollouts of one question in one step; `evidence` is the ledger as it stood at the end;
    `rewards` holds every reward component by name, `reward` their combination under the preset in use. `config` and
    `index_config` are the episode's `AgentConfig` and `IndexConfig` as JSON, `corpus` the name of the corpus: with them
    every context can be rebuilt and every search made again. `policy_identity` is the digest of `Policy.identity`, and
    `created` the moment the episode ended (ISO 8601, UTC); episodes that differ in that alone are equal.
    """

    trajectory_id: str
    question: Question
    strategy: str
    policy: str
    checkpoint: str
    index_tag: str
    seed: int
    turns: tuple[Turn, ...]
    evidence: tuple[EvidenceEntry, ...]
    answer: str
    citations: tuple[Citation, ...]
    outcome: Outcome
    group_id: str = ""
    error: str = ""
    seconds: float = 0.0
    reward: float | None = None
    rewards: dict[str, float] = field(default_factory=dict)
    config: str = ""
    index_config: str = ""
    corpus: str = ""
    policy_identity: str = ""
    created: str = field(default="", compare=False)

    @property
    def well_formed(self) -> bool:
        """Whether every reply the policy wrote was strictly well formed and the episode ended in an answer."""
        return self.outcome in ("answered", "forced") and all(t.action.well_formed for t in self.turns)

    def tokens(self) -> dict[str, int | None]:
        """`prompt_tokens`, `image_tokens` and `completion_tokens` over the turns the policy wrote.

        None where a turn's are not known: many servers count no pictures, some nothing at all.
        """
        written = [turn.completion for turn in self.turns if turn.completion.sampled]
        return {
            "prompt_tokens": _total(completion.prompt_tokens or None for completion in written),
            "image_tokens": _total(completion.image_tokens for completion in written),
            "completion_tokens": _total(completion.tokens_out for completion in written),
        }

    @property
    def pages_seen(self) -> tuple[str, ...]:
        """Page ids shown in this episode, in the order of first sight."""
        return tuple(dict.fromkeys(image.page_id for turn in self.turns for image in turn.observation.images))

    @property
    def chosen_regions(self) -> tuple[ChosenRegion | None, ...]:
        """What each turn's crop asked for, one a turn; None where no crop was shown.

        The box of the reply is read in the frame of the page as it was last shown. Crops are judged by this: the
        picture shown is larger by padding, a minimum side and a square shape, which the policy did not choose.
        """
        coordinates = json.loads(self.config or "{}").get("coordinates", "pixels")
        pages: dict[str, ImageRef] = {}
        chosen: list[ChosenRegion | None] = []
        for turn in self.turns:
            region = None
            if turn.observation.kind == "page":
                pages |= {image.page_id: image for image in turn.observation.images}
            elif turn.observation.kind == "crop":
                shown = turn.observation.images[-1]
                page, box = pages.get(shown.page_id), shown.box
                if page is not None and turn.action.box is not None:
                    box = chosen_box(turn.action.box, frame_of(page, coordinates)) or box
                region = ChosenRegion(shown.page_id, box)
            chosen.append(region)
        return tuple(chosen)

    @property
    def pages_looked_at(self) -> tuple[str, ...]:
        """Page ids shown in full, by a search or after a selection; candidates are not among them."""
        return tuple(
            dict.fromkeys(
                image.page_id
                for turn in self.turns
                if turn.observation.kind == "page"
                for image in turn.observation.images
            )
        )

    @property
    def standing_evidence(self) -> tuple[EvidenceEntry, ...]:
        """Entries that no later entry supersedes and that were not rejected."""
        superseded = {e.supersedes for e in self.evidence if e.supersedes is not None}
        return tuple(e for e in self.evidence if e.index not in superseded and e.kind != "rejected")

    @property
    def readings(self) -> tuple[EvidenceEntry, ...]:
        """What the episode says it read: the standing evidence, or, under a strategy that keeps none, every thought
        that follows pages or a crop, as an entry on each page. So all strategies answer for the same facts."""
        keeps = json.loads(self.config or "{}").get("evidence", {}).get("enabled", True)
        if keeps:
            return self.standing_evidence
        stated: list[EvidenceEntry] = []
        for before, turn in zip(self.turns, self.turns[1:], strict=False):
            if before.observation.kind in ("page", "crop") and turn.action.thought:
                kind: EntryKind = "post" if before.observation.kind == "crop" else "pre"
                stated += [
                    EvidenceEntry(len(stated) + n, image.page_id, "", 0, turn.action.thought, kind)
                    for n, image in enumerate(before.observation.images, start=1)
                ]
        return tuple(stated)


def _total(counts: Iterable[int | None]) -> int | None:
    """The sum, or None if a count is not known."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total
