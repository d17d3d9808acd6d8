"""What is measured of one variant of a seed: its policies on a split, what its base model reads, what its search finds.

Outcomes are kept question by question, so that tables can pool, pair and cut them into strata. Finished figures lie as
JSON in the build that measures and are not measured twice; a killed measurement goes on with the episodes it stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import Profile, TeacherConfig
from visor_core.errors import DataError
from visor_core.evaluation.page_recall import measure_page_recall
from visor_core.evaluation.results import BenchmarkResult
from visor_core.evaluation.runner import score
from visor_core.evaluation.statistics import pass_at_k
from visor_core.files import write_json
from visor_core.index import PageIndex
from visor_core.index.search import Mode
from visor_core.nano.ablations import played_agent
from visor_core.nano.probes import probe_reading
from visor_core.nano.teacher import ScriptedTeacher
from visor_core.nano.world import World
from visor_core.policies.base import BatchPolicy, Policy
from visor_core.questions import Question
from visor_core.scoring.facts import supported
from visor_core.trajectories.playing import play

QUESTIONWISE = ("right", "supported", "refused", "hasty", "tokens", "image_tokens", "turns")
"""Fields of `Outcomes` with one entry a question."""
TEMPERATURES = (0.0, 0.3, 0.6, 1.0)
PASS_AT = 8
PASS_QUESTIONS = 64
FIGURES = "figures.json"
"""What a variant's build holds in the end."""

OpenPolicy = Callable[[str, PageIndex], Policy]
"""(stage, index) → the policy of that stage's checkpoint, playing on the index."""


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
class VariantFigures:
    """One variant of a seed on one split; `policies` by the short names of theirs. A strategy of the comparison and
    an ablation have their last policy's `greedy` and `sampled` alone, as `rival`."""

    strata: Strata
    policies: dict[str, PolicyFigures] = field(default_factory=dict)
    rival: dict[str, Outcomes] = field(default_factory=dict)
    reading: dict[str, float] = field(default_factory=dict)
    recall: dict[str, float] = field(default_factory=dict)
    ceiling: float = 0.0


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


@dataclass(frozen=True, slots=True)
class RivalFigures:
    """One seed: the outcomes of each strategy, or ablation, greedy and at T = 1, and the seconds its SFT and GRPO took.

    `interrupted` names those in whose training a process was killed; `commits` are those trained at.
    """

    seed: int
    strata: Strata
    greedy: dict[str, Outcomes] = field(default_factory=dict)
    sampled: dict[str, Outcomes] = field(default_factory=dict)
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)
    interrupted: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """What a variant of a seed has made, and where what is measured of it is kept.

    `folders` are the outputs of its stages by name; `kept` holds finished figures, `episodes` every episode played.
    """

    profile: Profile
    folders: Mapping[str, Path]
    kept: Path
    episodes: Path
    open_policy: OpenPolicy


class Split:
    """One split's questions on its own index; evaluations are stored and never run twice."""

    def __init__(self, chain: Chain, world: World, questions: Sequence[Question], index: PageIndex) -> None:
        self.chain, self.world, self.questions, self.index = chain, world, list(questions), index
        legible = {page.page_id for page in world.pages if page.legible}
        self.strata = Strata(
            hops=tuple(q.hops for q in self.questions),
            legible=tuple(bool(q.gold_pages) and set(q.gold_pages) <= legible for q in self.questions),
            answerable=tuple(q.answerable for q in self.questions),
        )
        self._done: dict[tuple[str, float], tuple[BenchmarkResult, Sequence[Trajectory]]] = {}

    @property
    def environment(self) -> Environment:
        """The episodes of the variant on this split."""
        return Environment(self.index, played_agent(self.chain.profile), self.chain.profile.index)

    def run(self, stage: str, temperature: float) -> tuple[BenchmarkResult, Sequence[Trajectory]]:
        """All questions once by the policy of a stage."""
        key = (stage, temperature)
        if key not in self._done:
            with self.chain.open_policy(stage, self.index) as policy:
                played = play(
                    policy,
                    self.environment,
                    self.questions,
                    seed=self.chain.profile.seed,
                    temperature=temperature,
                    concurrency=self.chain.profile.evaluation.concurrency,
                    store=self.chain.episodes,
                )
            self._done[key] = (score(played), played.episodes)
        return self._done[key]

    def best_temperature(self, stage: str) -> float:
        """The temperature with the most supported answers, the lowest of equals."""
        return max(TEMPERATURES, key=lambda t: (self.run(stage, t)[0].supported_success.estimate, -t))

    def outcomes(self, stage: str, temperature: float) -> Outcomes:
        """One run, question by question."""
        result, _ = self.run(stage, temperature)
        return Outcomes(
            temperature=temperature,
            right=tuple(row.right for row in result.episodes),
            supported=tuple(row.supported for row in result.episodes),
            refused=tuple(row.refused for row in result.episodes),
            hasty=tuple(bool(row.answer.strip()) and row.evidence not in (None, 1.0) for row in result.episodes),
            tokens=tuple(row.prompt_tokens or 0 for row in result.episodes),
            image_tokens=tuple(row.image_tokens or 0 for row in result.episodes),
            turns=tuple(row.turns for row in result.episodes),
        )

    def policy(self, stage: str, best: float) -> PolicyFigures:
        """Everything the tables need of one checkpoint; kept on disk."""
        path = self._path("policy", stage)
        found = _read(path)
        if found is not None:
            return _policy(found)
        figures = PolicyFigures(
            greedy=self.outcomes(stage, 0.0),
            sampled=self.outcomes(stage, 1.0),
            best=self.outcomes(stage, best),
            pass_at_8=self._pass(stage),
            entropy=sampled_entropy(self.run(stage, 1.0)[1]),
        )
        write_json(path, asdict(figures))
        return figures

    def rival(self, stage: str) -> dict[str, Outcomes]:
        """What the comparison of strategies needs of one checkpoint: `greedy` and `sampled`."""
        return {"greedy": self.outcomes(stage, 0.0), "sampled": self.outcomes(stage, 1.0)}

    def _pass(self, stage: str) -> tuple[float, ...]:
        """pass@8 of supported success at T = 1, for each of the first questions."""
        with self.chain.open_policy(stage, self.index) as policy:
            assert isinstance(policy, BatchPolicy)
            episodes = run_reference(
                self.environment,
                policy,
                self.questions[:PASS_QUESTIONS],
                rollouts=PASS_AT,
                seed=self.chain.profile.seed,
                step=1,
                temperature=1.0,
            )
        groups = [episodes[i : i + PASS_AT] for i in range(0, len(episodes), PASS_AT)]
        return tuple(pass_at_k(sum(map(supported, group)), PASS_AT, PASS_AT) for group in groups)

    def probes(self) -> dict[str, dict[str, float]]:
        """What the base model reads, what plain search finds at rank 1, and how far faultless play gets."""
        path = self._path("probes")
        found = _read(path)
        if found is None:
            found = self._probe()
            write_json(path, found)
        return dict(found)

    def _probe(self) -> dict[str, dict[str, float]]:
        profile = self.chain.profile
        pages = [
            Question(page.page_id, page.title, (), partition=page.partition, gold_pages=(page.page_id,))
            for page in self.world.pages
            if page.panels
        ]

        def recall(mode: Mode) -> float:
            def search(question: Question, k: int) -> list[str]:
                hits = self.index.search(question.question, k=k, mode=mode, partition=question.partition)
                return [hit.page_id for hit in hits]

            return measure_page_recall(mode, search, pages, cuts=(1,)).recall[1]

        faultless = TeacherConfig(wrong_page=0, loose_crop=0, wrong_label=0)
        played = run_reference(
            self.environment,
            ScriptedTeacher(self.world, faultless, profile.agent, seed=profile.seed),
            self.questions,
        )
        return {
            "reading": asdict(probe_reading(self.chain.folders["base_model"], self.world, seed=profile.seed)),
            "recall": {"retriever": recall("vector"), "BM25": recall("text"), "pages": float(len(pages))},
            "ceiling": {"supported": sum(map(supported, played)) / len(played)},
        }

    def _path(self, *what: str) -> Path:
        return self.chain.kept / f"{'-'.join((*what, self.world.split))}.json"


def sampled_entropy(episodes: Sequence[Trajectory]) -> float:
    """Mean −log p of the tokens sampled at T = 1, in nats: an unbiased estimate of the policy's entropy a token."""
    logprobs = [p for episode in episodes for turn in episode.turns for p in turn.completion.logprobs]
    return -sum(logprobs) / max(1, len(logprobs))


def read_figures(folder: Path) -> VariantFigures:
    """What a variant's build found.

    Raises:
        DataError: if it is not there or damaged.
    """
    path = folder / FIGURES
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return VariantFigures(
            strata=Strata(**{name: tuple(values) for name, values in found["strata"].items()}),
            policies={name: _policy(figures) for name, figures in found["policies"].items()},
            rival={name: _outcomes(run) for name, run in found["rival"].items()},
            reading=found["reading"],
            recall=found["recall"],
            ceiling=found["ceiling"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged or gone: delete its folder and run the study again") from error


def _policy(data: dict[str, Any]) -> PolicyFigures:
    runs = {name: _outcomes(data[name]) for name in ("greedy", "sampled", "best")}
    return PolicyFigures(**runs, pass_at_8=tuple(data["pass_at_8"]), entropy=data["entropy"])


def _outcomes(data: dict[str, Any]) -> Outcomes:
    lists = {name: tuple(data[name]) for name in QUESTIONWISE}
    return Outcomes(**{**data, **lists})


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
