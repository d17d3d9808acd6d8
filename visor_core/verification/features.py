"""What speaks for the answer of a finished episode, seen without its gold.

The three families are those that RAD-2 ranks by: agreement with the other episodes of the question, coverage of the
answer by recorded evidence, and the verdicts that the policy gave on what it was shown. What is not known of an episode
(no verdicts under a strategy without them, no log-probabilities from a server) is NaN, never 0.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

from visor_core.agent.trajectory import Trajectory
from visor_core.scoring.answers import normalise, says_missing
from visor_core.scoring.facts import words_of

REFUSAL = "\0missing"
"""The canonical form of every refusal; no answer normalises to it."""


@dataclass(frozen=True, slots=True)
class Features:
    """One episode's features, each in [0, 1] or NaN.

    `agreement`: share of the question's episodes with the same answer, this one included; NaN for a single episode.
    `coverage`: share of the
    answer's words and numbers that stand in standing evidence; `cited_coverage`: in the entries the answer cites. Of a
    refusal both are NaN: nothing could be recorded. `kept`: share of "keep" among the verdicts given. `unrejected`:
    share of readings that no crop verdict rejected. `confidence`: the geometric mean probability of the tokens of the
    answering turn. `finished`: 1 for an answer of the policy's own, 0 for a forced or an absent one. `well_formed`: 1
    where every reply was. `brevity`: 1 − turns / turns allowed. `refused`: 1 for a refusal.
    """

    agreement: float
    coverage: float
    cited_coverage: float
    kept: float
    unrejected: float
    confidence: float
    finished: float
    well_formed: float
    brevity: float
    refused: float


NAMES = tuple(field.name for field in fields(Features))
"""The features in the order of `as_row`."""


def as_row(of: Features) -> tuple[float, ...]:
    """The values in the order of `NAMES`."""
    return astuple(of)


def canonical(answer: str) -> str:
    """A form in which equal answers are equal: refusals are one, numbers compare by value, lists without order.

    >>> canonical("$1,200.50") == canonical("1200.5")
    True
    >>> canonical("['b', 'a']") == canonical("a, b")
    False
    """
    if not answer.strip():
        return ""
    if says_missing(answer):
        return REFUSAL
    text = answer.strip()
    if text.startswith("[") and text.endswith("]"):
        items = _items(text)
        return "[" + "|".join(sorted(map(canonical, items))) + "]"
    number = re.fullmatch(r"[^\w\s]?\s*(-?\d[\d,]*(?:\.\d+)?)\s*(%?)", text)
    if number:
        return f"{float(number[1].replace(',', '')):.12g}{number[2]}"
    return normalise(text) or text


def _items(text: str) -> list[str]:
    """The items of a list as written: a literal, else what stands between commas."""
    try:
        parsed = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [part.strip() for part in text[1:-1].split(",")]
    return [str(item) for item in parsed]


@dataclass(frozen=True, slots=True)
class Described:
    """One episode by itself: its features (without agreement), the form of its answer (empty for none)."""

    features: Features
    form: str


def features_of(episodes: Sequence[Trajectory]) -> list[Features]:
    """Features of the episodes of one question, in their order.

    Raises:
        ValueError: if the episodes are of several questions.
    """
    if len({episode.question.question_id for episode in episodes}) > 1:
        raise ValueError("agreement is among episodes of one question")
    return among([describe(episode) for episode in episodes])


def among(described: Sequence[Described]) -> list[Features]:
    """The features of episodes beside each other: with their agreement, if there are several."""
    if len(described) == 1:
        return [described[0].features]
    alike = Counter(of.form for of in described)
    return [replace(of.features, agreement=alike[of.form] / len(described)) for of in described]


def describe(episode: Trajectory) -> Described:
    """What speaks for an episode's answer, other episodes apart."""
    refused = says_missing(episode.answer)
    answer = set(words_of(episode.answer))
    standing = {entry.index: set(words_of(entry.observation)) for entry in episode.readings}
    cited = episode.turns[-1].action.citations if episode.turns else ()
    verdicts = [turn.action.verdict for turn in episode.turns if turn.action.verdict]
    rejected = sum(entry.kind == "rejected" for entry in episode.evidence)
    allowed = json.loads(episode.config or "{}").get("max_turns", 0)
    features = Features(
        agreement=math.nan,
        coverage=math.nan if refused else _covered(answer, list(standing.values())),
        cited_coverage=math.nan if refused else _covered(answer, [standing[n] for n in cited if n in standing]),
        kept=verdicts.count("keep") / len(verdicts) if verdicts else math.nan,
        unrejected=1 - rejected / len(episode.evidence) if episode.evidence else math.nan,
        confidence=_confidence(episode),
        finished=float(episode.outcome == "answered"),
        well_formed=float(episode.well_formed),
        brevity=max(0.0, 1 - len(episode.turns) / allowed) if allowed else math.nan,
        refused=float(refused),
    )
    return Described(features, canonical(episode.answer))


def _covered(answer: set[str], recorded: Sequence[set[str]]) -> float:
    """Share of the answer's words that stand in any of the entries; 0 for an empty answer."""
    return len(answer & set().union(*recorded)) / len(answer) if answer else 0.0


def _confidence(episode: Trajectory) -> float:
    """Geometric mean probability of the answering turn's tokens; NaN where they are not known."""
    logprobs = episode.turns[-1].completion.logprobs if episode.turns else ()
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else math.nan
