"""What is measured of one seed: its policies on a split, what the base model reads, what the retriever finds.

Outcomes are kept question by question, so that tables can pool, pair and cut them into strata. Finished figures lie as
JSON beside the checkpoints and are not measured twice; a killed measurement goes on with the episodes it stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import Profile, TeacherConfig
from visor_core.evaluation.page_recall import measure_page_recall
from visor_core.evaluation.results import BenchmarkResult
from visor_core.evaluation.runner import score
from visor_core.evaluation.statistics import pass_at_k
from visor_core.files import write_json
from visor_core.index.search import Mode
from visor_core.nano.probes import probe_reading
from visor_core.nano.study_stages import EPISODES, Seed, code_of, tag_of
from visor_core.nano.teacher import ScriptedTeacher
from visor_core.nano.world import World
from visor_core.questions import Question, questions_version
from visor_core.scoring.facts import supported
from visor_core.trajectories.playing import play

QUESTIONWISE = ("right", "supported", "refused", "hasty", "tokens", "image_tokens", "turns")
"""Fields of `Outcomes` with one entry a question."""
MEASURED = (
    *EPISODES, "visor_core.evaluation.page_recall", "visor_core.evaluation.results", "visor_core.evaluation.statistics",
    "visor_core.nano.probes", "visor_core.nano.teacher",
)  # fmt: skip
"""The code that figures are measured with."""
TEMPERATURES = (0.0, 0.3, 0.6, 1.0)
PASS_AT = 8
PASS_QUESTIONS = 64


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One policy at one temperature, question by question.

    `hasty` are answers given although evidence was missing, right or wrong; `tokens` those of all prompts of an
    episode, pictures included, `image_tokens` those of the pictures.
    """

    temperature: float
    right: tuple[bool, ...]
    supported: tuple[bool, ...]
    refused: tuple[bool, ...]
    hasty: tuple[bool, ...]
    tokens: tuple[int, ...]
    image_tokens: tuple[int, ...]
    turns: tuple[int, ...]

    @property
    def shortcuts(self) -> tuple[bool, ...]:
        """Right answers without all their evidence."""
        return tuple(r and not s for r, s in zip(self.right, self.supported, strict=True))


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """One checkpoint: greedy, at T = 1, at the temperature that was best on development, pass@8 a question."""

    greedy: Outcomes
    sampled: Outcomes
    best: Outcomes
    pass_at_8: tuple[float, ...]
    entropy: float


@dataclass(frozen=True, slots=True)
class Strata:
    """The questions of a split, in order: pages needed, whether every gold page is legible at once, answerable."""

    hops: tuple[int, ...]
    legible: tuple[bool, ...]
    answerable: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class SeedFigures:
    """One seed on one split."""

    seed: int
    strata: Strata
    policies: dict[str, PolicyFigures] = field(default_factory=dict)
    reading: dict[str, float] = field(default_factory=dict)
    recall: dict[str, float] = field(default_factory=dict)
    ceiling: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    interrupted: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()


class Split:
    """One split's questions on its own index; evaluations are stored and never run twice."""

    def __init__(self, seed: Seed, world: World, questions: Sequence[Question]) -> None:
        self.seed, self.world, self.questions = seed, world, list(questions)
        legible = {page.page_id for page in world.pages if page.legible}
        self.strata = Strata(
            hops=tuple(q.hops for q in self.questions),
            legible=tuple(bool(q.gold_pages) and set(q.gold_pages) <= legible for q in self.questions),
            answerable=tuple(q.answerable for q in self.questions),
        )
        self.tag = tag_of(questions_version(self.questions))
        self._done: dict[tuple[str, str, float], tuple[BenchmarkResult, list[Trajectory]]] = {}

    def run(self, profile: Profile, checkpoint: Path, temperature: float) -> tuple[BenchmarkResult, list[Trajectory]]:
        """All questions once under a profile's strategy."""
        key = (profile.agent.model_dump_json(), str(checkpoint), temperature)
        if key not in self._done:
            index = self.seed.index(self.world)
            with self.seed.policy(checkpoint, index) as policy:
                played = play(
                    policy,
                    self.seed.environment(self.world, profile),
                    self.questions,
                    seed=self.seed.seed,
                    temperature=temperature,
                    store=self.seed.episodes,
                )
            self._done[key] = (score(played), list(played.episodes))
        return self._done[key]

    def best_temperature(self, profile: Profile, checkpoint: Path) -> float:
        """The temperature with the most supported answers, the lowest of equals."""
        return max(TEMPERATURES, key=lambda t: (self.run(profile, checkpoint, t)[0].supported_success.estimate, -t))

    def outcomes(self, profile: Profile, checkpoint: Path, temperature: float) -> Outcomes:
        """One run, question by question."""
        result, _ = self.run(profile, checkpoint, temperature)
        return Outcomes(
            temperature=temperature,
            right=tuple(row.right for row in result.episodes),
            supported=tuple(row.supported for row in result.episodes),
            refused=tuple(row.refused for row in result.episodes),
            hasty=tuple(bool(row.answer.strip()) and row.evidence < 1.0 for row in result.episodes),
            tokens=tuple(row.prompt_tokens or 0 for row in result.episodes),
            image_tokens=tuple(row.image_tokens or 0 for row in result.episodes),
            turns=tuple(row.turns for row in result.episodes),
        )

    def policy(self, profile: Profile, checkpoint: Path, best: float) -> PolicyFigures:
        """Everything the tables need of one checkpoint; kept on disk."""
        path = self._path("policy", profile.agent, str(checkpoint), best, PASS_QUESTIONS, QUESTIONWISE)
        found = _read(path)
        if found is not None:
            runs = {name: _outcomes(found[name]) for name in ("greedy", "sampled", "best")}
            return PolicyFigures(**runs, pass_at_8=tuple(found["pass_at_8"]), entropy=found["entropy"])
        figures = PolicyFigures(
            greedy=self.outcomes(profile, checkpoint, 0.0),
            sampled=self.outcomes(profile, checkpoint, 1.0),
            best=self.outcomes(profile, checkpoint, best),
            pass_at_8=self._pass(profile, checkpoint),
            entropy=sampled_entropy(self.run(profile, checkpoint, 1.0)[1]),
        )
        write_json(path, asdict(figures))
        return figures

    def rival(self, profile: Profile, checkpoint: Path) -> dict[str, Outcomes]:
        """What the comparison of strategies needs of one checkpoint: `greedy` and `sampled`; kept on disk."""
        path = self._path("rival", profile.agent, str(checkpoint), QUESTIONWISE)
        found = _read(path)
        if found is not None:
            return {name: _outcomes(run) for name, run in found.items()}
        runs = {"greedy": self.outcomes(profile, checkpoint, 0.0), "sampled": self.outcomes(profile, checkpoint, 1.0)}
        write_json(path, {name: asdict(run) for name, run in runs.items()})
        return runs

    def _pass(self, profile: Profile, checkpoint: Path) -> tuple[float, ...]:
        """pass@8 of supported success at T = 1, for each of the first questions."""
        with self.seed.policy(checkpoint, self.seed.index(self.world)) as policy:
            episodes = run_reference(
                self.seed.environment(self.world, profile),
                policy,
                self.questions[:PASS_QUESTIONS],
                rollouts=PASS_AT,
                seed=self.seed.seed,
                step=1,
                temperature=1.0,
            )
        groups = [episodes[i : i + PASS_AT] for i in range(0, len(episodes), PASS_AT)]
        return tuple(pass_at_k(sum(map(supported, group)), PASS_AT, PASS_AT) for group in groups)

    def probes(self) -> dict[str, dict[str, float]]:
        """What the base model reads, what plain search finds at rank 1, and how far faultless play gets."""
        base = self.seed.base()
        path = self._path("probes", base.name, self.seed.retriever().name, self.seed.profile.agent)
        return _kept(path, lambda: self._probe(base))

    def _probe(self, base: Path) -> dict[str, dict[str, float]]:
        index = self.seed.index(self.world)
        pages = [
            Question(page.page_id, page.title, (), partition=page.partition, gold_pages=(page.page_id,))
            for page in self.world.pages
            if page.panels
        ]

        def recall(mode: Mode) -> float:
            def search(question: Question, k: int) -> list[str]:
                hits = index.search(question.question, k=k, mode=mode, partition=question.partition)
                return [hit.page_id for hit in hits]

            return measure_page_recall(mode, search, pages, cuts=(1,)).recall[1]

        teacher = TeacherConfig(wrong_page=0, loose_crop=0, wrong_label=0)
        played = run_reference(
            self.seed.environment(self.world, self.seed.profile),
            ScriptedTeacher(self.world, teacher, self.seed.profile.agent, seed=self.seed.seed),
            self.questions,
        )
        return {
            "reading": asdict(probe_reading(base, self.world, seed=self.seed.seed)),
            "recall": {"retriever": recall("vector"), "BM25": recall("text"), "pages": float(len(pages))},
            "ceiling": {"supported": sum(map(supported, played)) / len(played)},
        }

    def _path(self, kind: str, *parts: Any) -> Path:
        tag = tag_of(self.tag, *parts, code_of(*MEASURED))
        return self.seed.folder / "figures" / f"{kind}-{self.world.split}-{tag}.json"


def sampled_entropy(episodes: Sequence[Trajectory]) -> float:
    """Mean −log p of the tokens sampled at T = 1, in nats: an unbiased estimate of the policy's entropy a token."""
    logprobs = [p for episode in episodes for turn in episode.turns for p in turn.completion.logprobs]
    return -sum(logprobs) / max(1, len(logprobs))


def _outcomes(data: dict[str, Any]) -> Outcomes:
    lists = {name: tuple(data[name]) for name in QUESTIONWISE}
    return Outcomes(**{**data, **lists})


def _kept(path: Path, measure: Callable[[], dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    found = _read(path)
    if found is None:
        found = measure()
        write_json(path, found)
    return found


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
