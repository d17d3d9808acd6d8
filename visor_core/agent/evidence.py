"""The Evidence Space (VISOR): a persistent, append-only ledger of what was read, where.

Nothing is edited: a correction or a rejection is a new line that names the entry it supersedes. Rendering fits the
ledger to a token budget in this order: the words of rejected entries go first, superseded entries next, and last the
standing readings shorten, the oldest first and each only as far as needed, since an answer rests on them. Document,
page and box of every entry that is not superseded always stay. Compaction overshoots to `LOW_WATER` of the budget, so
that most turns only append and the engine's prefix cache keeps its hits. It leaves out *when* entries are made: that is
`environment`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visor_core.agent.trajectory import EntryKind, EvidenceEntry
from visor_core.agent.untrusted import approximate_tokens, neutralise, shorten
from visor_core.geometry import Box, iou

LOW_WATER = 0.8
"""A compaction shrinks the ledger to this share of its budget."""
SHORT_TOKENS = 12
"""A standing reading keeps this many tokens as long as shortening others to it makes room enough."""
SAME_REGION_IOU = 0.5
"""A second reading of a region overlapping an earlier one by this much corrects it."""

LineOf = Callable[[EvidenceEntry, str], str]
"""Renders one entry with its (possibly shortened) observation."""


@dataclass(frozen=True, slots=True)
class RenderedEvidence:
    """The ledger as shown: lines in order, their approximate tokens, how often it was compacted, entries left out."""

    lines: tuple[str, ...]
    tokens: int
    compactions: int
    dropped: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EvidenceSpace:
    """The ledger: immutable, only ever longer."""

    entries: tuple[EvidenceEntry, ...] = ()

    @property
    def superseded(self) -> frozenset[int]:
        """Indices of entries a later one replaces."""
        return frozenset(e.supersedes for e in self.entries if e.supersedes is not None)

    @property
    def standing(self) -> tuple[EvidenceEntry, ...]:
        """Entries neither superseded nor rejected: what an answer may rest on."""
        gone = self.superseded
        return tuple(e for e in self.entries if e.index not in gone and e.kind != "rejected")

    def standing_for(self, index: int) -> EvidenceEntry | None:
        """The entry with this 1-based index or the one that took its place; none where that is rejected or missing."""
        while later := next((e.index for e in self.entries if e.supersedes == index), None):
            index = later
        return next((e for e in self.entries if e.index == index and e.kind != "rejected"), None)

    def standing_of(self, page_id: str) -> tuple[EvidenceEntry, ...]:
        """Standing entries of one page."""
        return tuple(e for e in self.standing if e.page_id == page_id)

    def add(
        self,
        *,
        page_id: str,
        document: str,
        page: int,
        observation: str,
        kind: EntryKind = "pre",
        box: Box | None = None,
        max_tokens: int | None = None,
    ) -> EvidenceSpace:
        """The ledger with one more line, the entry it supersedes worked out.

        A `post` replaces the page's standing `pre`, or an earlier `post` of about the same region. A page read again in
        full (`pre`, or its rejection) replaces the page's earlier `pre`. A rejected crop replaces nothing, nor does a
        reading without words: the reading from before it stands.

        Args:
            observation: untrusted text; neutralised and cut to `max_tokens` here.
        """
        text = neutralise(observation)
        entry = EvidenceEntry(
            index=len(self.entries) + 1,
            page_id=page_id,
            document=document,
            page=page,
            observation=shorten(text, max_tokens) if max_tokens else text,
            kind=kind,
            box=box,
            supersedes=self._superseded_by(page_id, kind, box) if text or kind == "rejected" else None,
        )
        return EvidenceSpace((*self.entries, entry))

    def _superseded_by(self, page_id: str, kind: EntryKind, box: Box | None) -> int | None:
        standing = self.standing_of(page_id)
        whole = [e.index for e in standing if e.kind == "pre"]
        if kind == "post" and box is not None:
            same = [e.index for e in standing if e.kind == "post" and e.box and iou(e.box, box) >= SAME_REGION_IOU]
            found = whole or same
            return found[-1] if found else None
        if kind == "pre" or box is None:
            return whole[-1] if whole else None
        return None

    def render(self, line_of: LineOf, max_tokens: int) -> RenderedEvidence:
        """The ledger within a budget of approximate tokens; a pure fold over the entries in order."""
        return render(self.entries, line_of, max_tokens)


def render(entries: Sequence[EvidenceEntry], line_of: LineOf, max_tokens: int) -> RenderedEvidence:
    """Fold the entries one by one as the episode added them, compacting whenever the budget is passed."""
    sheet = _Sheet(line_of)
    superseded: set[int] = set()
    compactions = 0
    for n, newest in enumerate(entries, start=1):
        sheet.show(newest, newest.observation)
        if newest.supersedes is not None:
            superseded.add(newest.supersedes)
        if sheet.total > max_tokens:
            before = sheet.total
            _compact(sheet, entries[:n], superseded, max_tokens)
            compactions += sheet.total < before
    dropped = tuple(e.index for e in entries if e.index not in sheet.lines)
    return RenderedEvidence(tuple(sheet.lines.values()), sheet.total, compactions, dropped)


class _Sheet:
    """The lines shown by entry index, in order, the observation each shows, and their approximate tokens in all."""

    def __init__(self, line_of: LineOf) -> None:
        self.lines: dict[int, str] = {}
        self.observations: dict[int, str] = {}
        self.total = 0
        self._line_of = line_of
        self._costs: dict[int, int] = {}

    def show(self, entry: EvidenceEntry, observation: str) -> None:
        """Show an entry, or show it anew, with these words."""
        line = self._line_of(entry, observation)
        cost = approximate_tokens(line)
        self.total += cost - self._costs.get(entry.index, 0)
        self.lines[entry.index], self.observations[entry.index], self._costs[entry.index] = line, observation, cost

    def drop(self, entry: EvidenceEntry) -> None:
        """Take an entry out."""
        self.total -= self._costs.pop(entry.index)
        del self.lines[entry.index], self.observations[entry.index]


def _compact(sheet: _Sheet, entries: Sequence[EvidenceEntry], superseded: set[int], max_tokens: int) -> None:
    """Shrink the ledger below its budget, or as far as the stubs of its entries allow: what helps an answer least goes
    first. The newest reading, which has just been made, is cut only where no older one can make room for it."""
    low = math.floor(LOW_WATER * max_tokens)
    for entry in entries:
        if sheet.total > low and entry.kind == "rejected" and sheet.observations.get(entry.index):
            sheet.show(entry, "")
    for entry in entries:
        if sheet.total > low and entry.index in superseded and entry.index in sheet.lines:
            sheet.drop(entry)
    older, newest = entries[:-1], entries[-1:]
    _shorten(sheet, older, SHORT_TOKENS, low)
    if sheet.total > max_tokens:
        _shorten(sheet, older, 0, low)
    _shorten(sheet, newest, 0, max_tokens)


def _shorten(sheet: _Sheet, entries: Sequence[EvidenceEntry], least: int, target: int) -> None:
    """Cut readings, the oldest first, each as far as needed for `target` tokens but to no fewer than `least`."""
    for entry in entries:
        words = sheet.observations.get(entry.index, "")
        if sheet.total > target and words:
            sheet.show(entry, shorten(words, max(least, approximate_tokens(words) - (sheet.total - target))))
