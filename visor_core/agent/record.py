"""What a reply adds to the Evidence Space: the thought written after seeing a page or crop is its observation.

A page gets `pre` at first sight and `post` after a zoom. The model's verdict is the other half of Visual Action
Evaluation and Correction (VISOR): a rejected crop is recorded as rejected and the reading from before it stands. With
`gate="all"` every page is recorded and an irrelevant one marked; with `gate="relevant"` only a page judged `keep` is. A
thought cut off at the token limit is no reading: that of the retry is. Pure, but for looking up a page's name.
"""

from __future__ import annotations

from collections.abc import Callable

from visor_core.agent.evidence import EvidenceSpace
from visor_core.agent.state import EpisodeState, PageName
from visor_core.agent.trajectory import Action, EntryKind, Observation
from visor_core.config import AgentConfig


def pending(state: EpisodeState) -> Observation | None:
    """The page or crop whose reading the next thought is: the newest one nobody has commented on.

    A retry in between does not consume it unless its reply already held a whole thought.
    """
    for turn in reversed(state.turns):
        if turn.observation.kind == "retry":
            if turn.action.thought and not _cut_off(turn.action):
                return None
            continue
        return turn.observation if turn.observation.kind in ("page", "crop") else None
    return None


def record(state: EpisodeState, action: Action, config: AgentConfig, facts: Callable[[str], PageName]) -> EvidenceSpace:
    """The ledger after a reply; the same ledger where nothing was observed."""
    evidence = state.evidence
    seen = pending(state)
    without_thought = not action.thought and (action.kind == "invalid" or action.well_formed)
    if not config.evidence.enabled or seen is None or without_thought or _cut_off(action):
        return evidence
    rejected = action.verdict == "reject"
    for image in seen.images:
        page = facts(image.page_id)
        kind: EntryKind
        if seen.kind == "crop":
            kind = "rejected" if rejected and config.correction else "post"
        else:
            kind = "rejected" if rejected else "pre"
            if config.evidence.gate == "relevant" and action.verdict != "keep":
                continue
        evidence = evidence.add(
            page_id=image.page_id,
            document=page.name,
            page=page.page,
            observation=action.thought,
            kind=kind,
            box=image.box if seen.kind == "crop" else None,
            max_tokens=config.evidence.entry_tokens,
        )
    return evidence


def _cut_off(action: Action) -> bool:
    """Whether the reply ended at the token limit before its action, perhaps amid its thought."""
    return action.kind == "invalid" and action.text == "cut off"


def stands_after(state: EpisodeState, action: Action, after: EvidenceSpace, config: AgentConfig) -> int | None:
    """The entry with the reading from before a crop which the reply rejects; none where nothing is rejected or kept."""
    seen = pending(state)
    if seen is None or seen.kind != "crop" or action.verdict != "reject" or not config.correction or _cut_off(action):
        return None
    return standing_index(after, seen.images[0].page_id, config)


def standing_index(evidence: EvidenceSpace, page_id: str, config: AgentConfig) -> int | None:
    """The newest reading of a page that stands; none where there is none, or no ledger."""
    standing = evidence.standing_of(page_id)
    return standing[-1].index if standing and config.evidence.enabled else None
