"""What was read: gold facts recorded in the Evidence Space, and values confirmed by the words of the region looked at.

An answer is *supported* when it is right and all its evidence stands in the ledger: every gold fact, recorded from its
own page, where facts are known (the nano world), else every gold page. Under a strategy without a ledger, what was said
at the sight of a page counts as recorded. `confirmed_readings` needs only a page's words with boxes. It is after
Perception-R1 (arXiv 2506.07218), where a language model judges for each annotated fact of a picture whether the reply
holds it; here a rule looks for every value of the reply on the page, and unsupported ones are found as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from visor_core.geometry import Box
from visor_core.questions import Fact, gold_is_complete
from visor_core.scoring.answers import answer_score
from visor_core.scoring.episode import Entry, Episode
from visor_core.scoring.ledger import pages_read
from visor_core.scoring.retrieval import recall

Word = tuple[str, float, float, float, float]
"""A word of a page: text, x0, y0, x1, y1 in page-normalised floats."""

_FILLER = frozenset({"is", "was", "are", "were", "of", "at", "the", "a", "an", "equals", "shows", "reads"})


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers; a number keeps its decimal point, sign and per cent, not its thousands commas."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.lower())
    return re.findall(r"-?\d+(?:\.\d+)?%?|[^\W\d_]+\d*(?:[-'][^\W_]+)*", text)


def claimed_values(observation: str, field: str) -> list[str]:
    """Values that a text gives for a label: the word after each occurrence of the label, fillers skipped."""
    words, label = words_of(observation), words_of(field)
    values = []
    for start in range(len(words) - len(label) + 1):
        if words[start : start + len(label)] != label:
            continue
        rest = [w for w in words[start + len(label) : start + len(label) + 3] if w not in _FILLER]
        if rest:
            values.append(rest[0])
    return values


def _contains(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(list(words[i : i + len(part)]) == list(part) for i in range(len(words) - len(part) + 1))


def is_recorded(fact: Fact, evidence: Sequence[Entry]) -> bool:
    """Whether a fact stands in the ledger: in an entry from its own page, with its subject, label and value.

    An entry that gives several values for the label states none; of several entries from the page that mention subject
    and label, the latest counts.
    """
    for entry in reversed(evidence):
        if entry.page_id != fact.page_id:
            continue
        if not _contains(words_of(entry.observation), words_of(fact.subject)):
            continue
        values = claimed_values(entry.observation, fact.field)
        if values:
            return set(values) == set(words_of(fact.value))
    return False


def recorded_facts(episode: Episode) -> float:
    """Share of the question's gold facts that were read; 1 when the question has none.

    Read means: standing in the ledger, or, under a strategy without one, stated at the sight of their page.
    """
    facts = episode.question.gold_facts
    if not facts:
        return 1.0
    evidence = episode.readings
    return sum(is_recorded(fact, evidence) for fact in facts) / len(facts)


def evidence(episode: Episode) -> float:
    """Share of the evidence that was read: of the gold facts where they are known, else of the gold pages.

    Read means the same for both, so that a strategy without a ledger is not without evidence by its make.
    """
    gold = episode.question
    return recorded_facts(episode) if gold.gold_facts else recall(pages_read(episode), gold.gold_pages)


def supported(episode: Episode) -> bool:
    """Whether the answer is right and all evidence was recorded; never where the gold is not wholly known."""
    right = (answer_score(episode.question, episode.answer) or 0.0) >= 1.0
    return right and evidence(episode) >= 1.0 and gold_is_complete(episode.question)


@dataclass(frozen=True, slots=True)
class Readings:
    """Distinct (label, value) readings of one observation: confirmed by the region's words, or not."""

    confirmed: frozenset[tuple[str, str]]
    unsupported: frozenset[tuple[str, str]]


def _is_value(word: str) -> bool:
    return re.fullmatch(r"-?\d+(?:\.\d+)?%?", word) is not None


def _nearest_label(index: int, centres: Sequence[tuple[str, float, float]]) -> str:
    """The label next to a value: nearest centre, where a label to the left or above is preferred on ties."""
    _, x, y = centres[index]
    best, distance = "", math.inf
    for text, lx, ly in centres:
        if _is_value(text):
            continue
        gap = math.hypot(lx - x, ly - y) * (1.0 if lx <= x and ly <= y else 1.001)
        if gap < distance:
            best, distance = text, gap
    return best


def confirmed_readings(observation: str, region: Box, words: Sequence[Word]) -> Readings:
    """Sort an observation's values by whether they stand in `region` with the label the observation gives them.

    A value is claimed with the nearest label before it in the text (with the one after it if it opens the text). A
    value directly after another value has no label of its own, so pasting a page's numbers confirms nothing.
    """
    centres: list[tuple[str, float, float]] = []
    for text, x0, y0, x1, y1 in words:
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        if region.x0 <= x <= region.x1 and region.y0 <= y <= region.y1:
            centres.extend((part, x, y) for part in words_of(text))
    true_pairs = {(_nearest_label(i, centres), c[0]) for i, c in enumerate(centres) if _is_value(c[0])}
    read = [w for w in words_of(observation) if w not in _FILLER]
    claims: set[tuple[str, str]] = set()
    for position, word in enumerate(read):
        if not _is_value(word):
            continue
        before = read[position - 1] if position else (read[1] if len(read) > 1 else "")
        claims.add(("" if _is_value(before) else before, word))
    confirmed = frozenset(claim for claim in claims if claim in true_pairs and claim[0] != "")
    return Readings(confirmed, frozenset(claims) - confirmed)
