"""Success against tokens: what choosing among n episodes brings, and what asking only the doubtful questions again.

All figures come from one table of N episodes a question. Choosing among n < N is averaged over all subsets of n (over
`SUBSETS` seeded ones where there are more), so that no order of the samples is favoured; tokens are those of all
episodes drawn, not of the one chosen.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from visor_core.agent.trajectory import Trajectory
from visor_core.errors import DataError
from visor_core.evaluation.results import EpisodeResult, score_episode
from visor_core.evaluation.statistics import Interval, PairedTest, bootstrap_mean, paired_difference
from visor_core.verification.features import Described, Features, among, describe
from visor_core.verification.learnt import crossed, fold_of
from visor_core.verification.selection import SCORERS, Scorer, choose

SUBSETS = 70
"""Subsets of n episodes that are looked at, at most: all of them up to N = 8."""
LEARNT = "learnt"
THRESHOLDS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the questions, the most doubtful first, that get one more round."""


@dataclass(frozen=True, slots=True)
class Point:
    """One way of answering: figures are means over questions.

    `gain` is the paired difference in right answers to a single episode; `tokens` counts prompts (pictures included)
    and replies of all episodes drawn, None where a server does not count them; `episodes` is how many were drawn.
    """

    method: str
    samples: int
    episodes: float
    tokens: float | None
    right: Interval
    supported: Interval
    gain: PairedTest


@dataclass(frozen=True, slots=True)
class Sampled:
    """N episodes of every question with their figures."""

    questions: tuple[str, ...]
    episodes: tuple[tuple[Described, ...], ...]
    results: tuple[tuple[EpisodeResult, ...], ...]

    @property
    def samples(self) -> int:
        """Episodes a question."""
        return len(self.episodes[0])


def sampled(episodes: Sequence[Sequence[Trajectory]]) -> Sampled:
    """Score N episodes of every question.

    Raises:
        ValueError: without questions, or with unlike numbers of episodes.
    """
    if not episodes or len({len(of) for of in episodes}) != 1 or not episodes[0]:
        raise ValueError("every question needs the same number of episodes, at least one")
    return Sampled(
        tuple(of[0].question.question_id for of in episodes),
        tuple(tuple(describe(episode) for episode in of) for of in episodes),
        tuple(tuple(score_episode(episode) for episode in of) for of in episodes),
    )


def best_of(of: Sampled, *, seed: int = 0) -> list[Point]:
    """Points for every scorer and n = 1 … N, the learnt one by cross-fitting where it can be fitted, and `oracle`: the
    share of questions with at least one right episode among n, which no choice can exceed."""
    methods = {name: _always(scorer) for name, scorer in SCORERS.items() if name != "first"}
    if learnt := cross_fitted(of):
        methods[LEARNT] = learnt
    single = _single(of)
    points = [_point("first", 1, 1.0, *_drawn(of, 1, lambda q, part: part[0], seed), single, seed)]
    for n in range(2, of.samples + 1):
        for name, scorer_of in methods.items():
            chosen = _chooser(of, scorer_of)
            points.append(_point(name, n, float(n), *_drawn(of, n, chosen, seed), single, seed))
        points.append(_point("oracle", n, float(n), *_drawn(of, n, _best(of), seed), single, seed))
    return points


def revised(of: Sampled, *, seed: int = 0) -> list[Point]:
    """Identify and revise: after the first episode, the questions it looks most doubtful on get a second one, and the
    better of both by the same scorer answers. One point a share of `THRESHOLDS`; the first episode alone is its 0.

    Doubt is the learnt scorer's where it can be fitted, else that of `combined`. Averaged over all ordered pairs of
    episodes.
    """
    if of.samples < 2:
        return []
    scorer_of = cross_fitted(of) or _always(SCORERS["combined"])
    single, pairs = _single(of), list(itertools.permutations(range(of.samples), 2))[:SUBSETS]
    chosen = _chooser(of, scorer_of)
    doubts = [[scorer_of(q)(episode.features) for episode in episodes] for q, episodes in enumerate(of.episodes)]
    points = []
    for share in THRESHOLDS:
        right = [0.0] * len(of.episodes)
        supported = [0.0] * len(of.episodes)
        tokens, known = 0.0, True
        for first, second in pairs:
            order = sorted(range(len(of.episodes)), key=lambda q: (doubts[q][first], q))
            again = set(order[: round(share * len(order))])
            for q in range(len(of.episodes)):
                drawn = (first, second) if q in again else (first,)
                row = of.results[q][chosen(q, drawn)]
                right[q] += row.right / len(pairs)
                supported[q] += row.supported / len(pairs)
                spent = _tokens(of, q, drawn)
                known, tokens = known and spent is not None, tokens + (spent or 0) / len(pairs) / len(of.episodes)
        points.append(
            _point(f"revise {share:.0%}", 2, 1 + share, right, supported, tokens if known else None, single, seed)
        )
    return points


def _always(scorer: Scorer) -> Callable[[int], Scorer]:
    """The same scorer for every question."""
    return lambda _: scorer


def cross_fitted(of: Sampled) -> Callable[[int], Scorer] | None:
    """For every question the scorer fitted on the folds it is not in; None where some fold has nothing to learn from.

    Answers are described beside all other episodes of their question, as they are when N of them are drawn.
    """
    try:
        scorers = crossed(examples_of(of))
    except DataError:
        return None
    return lambda q: scorers[fold_of(of.questions[q])]


def examples_of(of: Sampled) -> list[tuple[str, Features, bool]]:
    """(question id, features, right) of every episode."""
    return [
        (name, features, row.right)
        for name, episodes, rows in zip(of.questions, of.episodes, of.results, strict=True)
        for features, row in zip(among(episodes), rows, strict=True)
    ]


def doubt_auroc(of: Sampled) -> float:
    """How well doubt tells wrong first episodes from right ones: chance that a wrong one is more doubtful than a right
    one, ties half (the area under the ROC curve). NaN where all are right or all wrong."""
    scorer_of = cross_fitted(of) or _always(SCORERS["combined"])
    scores: dict[bool, list[float]] = {True: [], False: []}
    for q, (episodes, rows) in enumerate(zip(of.episodes, of.results, strict=True)):
        for episode, row in zip(episodes, rows, strict=True):
            scores[row.right].append(scorer_of(q)(episode.features))
    pairs = len(scores[True]) * len(scores[False])
    if not pairs:
        return math.nan
    won = sum((r > w) + 0.5 * (r == w) for r in scores[True] for w in scores[False])
    return won / pairs


def as_record(point: Point) -> dict[str, object]:
    """A point as JSON values."""
    return asdict(point)


Chosen = Callable[[int, Sequence[int]], int]
"""(question, episodes drawn) → the episode that answers."""


def _chooser(of: Sampled, scorer_of: Callable[[int], Scorer]) -> Chosen:
    def chosen(q: int, drawn: Sequence[int]) -> int:
        return drawn[choose([of.episodes[q][i] for i in drawn], scorer_of(q))]

    return chosen


def _best(of: Sampled) -> Chosen:
    def chosen(q: int, drawn: Sequence[int]) -> int:
        return max(drawn, key=lambda i: (of.results[q][i].right, of.results[q][i].supported))

    return chosen


def _subsets(samples: int, n: int, seed: int) -> list[tuple[int, ...]]:
    """All subsets of n episodes in order, or `SUBSETS` seeded ones."""
    if math.comb(samples, n) <= SUBSETS:
        return list(itertools.combinations(range(samples), n))
    generator = random.Random(f"{seed} {samples} {n}")
    return [tuple(sorted(generator.sample(range(samples), n))) for _ in range(SUBSETS)]


def _drawn(of: Sampled, n: int, chosen: Chosen, seed: int) -> tuple[list[float], list[float], float | None]:
    """Right and supported of every question, and the mean tokens of a question, over the subsets of n."""
    subsets = _subsets(of.samples, n, seed)
    right, supported = [], []
    tokens: list[float | None] = []
    for q in range(len(of.episodes)):
        rows = [of.results[q][chosen(q, part)] for part in subsets]
        right.append(sum(row.right for row in rows) / len(rows))
        supported.append(sum(row.supported for row in rows) / len(rows))
        tokens += [_tokens(of, q, part) for part in subsets]
    known = [spent for spent in tokens if spent is not None]
    return right, supported, sum(known) / len(known) if len(known) == len(tokens) else None


def _tokens(of: Sampled, q: int, drawn: Sequence[int]) -> float | None:
    """Prompt and reply tokens of the episodes drawn; None where one of them is not known."""
    total = 0
    for i in drawn:
        row = of.results[q][i]
        if row.prompt_tokens is None or row.completion_tokens is None:
            return None
        total += row.prompt_tokens + row.completion_tokens
    return total


def _single(of: Sampled) -> list[float]:
    """Right answers of a single episode, every question's mean over its episodes."""
    return [sum(row.right for row in rows) / len(rows) for rows in of.results]


def _point(
    method: str,
    samples: int,
    episodes: float,
    right: Sequence[float],
    supported: Sequence[float],
    tokens: float | None,
    single: Sequence[float],
    seed: int,
) -> Point:
    return Point(
        method,
        samples,
        episodes,
        tokens,
        bootstrap_mean(right, seed=seed),
        bootstrap_mean(supported, seed=seed),
        paired_difference(single, right, seed=seed),
    )
