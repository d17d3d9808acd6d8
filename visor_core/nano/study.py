"""The study behind the table: base model, SFT and GRPO over several seeds, on documents that no stage has seen.

One seed is one world, one base model, one retriever, one teacher, one SFT and one GRPO run. Temperatures are chosen on
development questions; figures are reported on development, or, with `final`, on the test split, whose every reading
is logged. Each stage continues where a killed run stopped. Left out: the rival strategies and the longer run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from visor_core.agent.environment import Environment
from visor_core.agent.trajectory import Trajectory
from visor_core.config import EvaluationConfig, Profile
from visor_core.errors import ConfigError
from visor_core.evaluation.results import BenchmarkResult
from visor_core.evaluation.runner import evaluate
from visor_core.evaluation.statistics import cluster_t_test, pass_at_k, wilson
from visor_core.nano.held_out import HeldOutReading, log_reading
from visor_core.nano.questions import make_questions
from visor_core.nano.world import World, write_world
from visor_core.questions import Question
from visor_core.scoring.facts import supported

TEMPERATURES = (0.0, 0.3, 0.6, 1.0)
PASS_AT = 8
PASS_QUESTIONS = 64
STAGES = ("base", "sft", "grpo")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StageFigures:
    """One checkpoint's figures on the reported split; `outcomes` are its supported episodes at its best temperature."""

    best_temperature: float
    best: float
    greedy: float
    sampled: float
    sampled_two_hop: float
    shortcuts: float
    pass_at_8: float
    entropy: float
    outcomes: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class SeedFigures:
    """One seed's figures by stage, and the number of questions behind them."""

    seed: int
    questions: int
    stages: dict[str, StageFigures] = field(default_factory=dict)


def run_study(
    profile: Profile, folder: Path, seeds: Sequence[int], *, final: bool, progress: Progress = lambda line: None
) -> str:
    """Run all seeds and write `study.json` and `study.md`.

    Args:
        folder: where everything of the study lies; a later call continues there.
        final: whether to report on the test split.

    Returns:
        The table as Markdown.

    Raises:
        ConfigError: if the profile has no section `nano`.
    """
    results = [run_seed(profile, folder / f"seed-{seed}", folder, seed, final, progress) for seed in seeds]
    table = markdown(results, "test" if final else "development")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps([asdict(r) for r in results], indent=1), encoding="utf-8")
    (folder / "study.md").write_text(table, encoding="utf-8")
    return table


def run_seed(
    profile: Profile, folder: Path, log: Path, seed: int, final: bool, progress: Progress = lambda line: None
) -> SeedFigures:
    """Train and measure one seed.

    Raises:
        ConfigError: if the profile has no section `nano`.
    """
    from visor_core.nano.study_stages import Stages

    nano = profile.nano
    if nano is None:
        raise ConfigError(f"the profile {profile.name!r} has no section `nano`: the study needs the nano profile")
    train = write_world(folder / "pdf" / "train", "train", nano, seed)
    development = write_world(folder / "pdf" / "development", "development", nano, seed)
    stages = Stages(profile, folder, seed, train, progress)
    checkpoints = stages.train(make_questions(train, nano.train_questions, seed=seed))
    chosen = _Split(stages, development, make_questions(development, nano.development_questions, seed=seed))
    reported = chosen
    if final:
        reading: HeldOutReading = log_reading(log, f"study, seed {seed}")
        test = write_world(folder / "pdf" / "test", "test", nano, seed, reading=reading)
        reported = _Split(stages, test, make_questions(test, nano.test_questions, seed=seed))
    figures = {}
    for stage in STAGES:
        best = max(TEMPERATURES, key=lambda t: (chosen.run(checkpoints[stage], t).supported_success.estimate, -t))
        figures[stage] = reported.figures(checkpoints[stage], best)
        progress(f"seed {seed}, {stage}: best T {best}, supported {figures[stage].best:.3f}")
    return SeedFigures(seed, len(reported.questions), figures)


class _Split:
    """One split's questions on its own index; evaluations are kept and never run twice."""

    def __init__(self, stages: object, world: World, questions: Sequence[Question]) -> None:
        from visor_core.nano.study_stages import Stages

        assert isinstance(stages, Stages)
        self.questions = list(questions)
        self._stages = stages
        self._index = stages.index(world)
        self._environment = Environment(self._index, stages.profile.agent, stages.index_config)
        self._done: dict[tuple[Path, float], tuple[BenchmarkResult, list[Trajectory]]] = {}

    def run(self, checkpoint: Path, temperature: float) -> BenchmarkResult:
        """All questions once at one temperature."""
        return self._run(checkpoint, temperature)[0]

    def _run(self, checkpoint: Path, temperature: float) -> tuple[BenchmarkResult, list[Trajectory]]:
        key = (checkpoint, temperature)
        if key not in self._done:
            episodes: list[Trajectory] = []
            result = evaluate(
                self._stages.policy(checkpoint, self._index),
                self._environment,
                self.questions,
                EvaluationConfig(temperature=temperature),
                seed=self._stages.seed,
                store=self._stages.folder / "episodes",
                on_episodes=episodes.extend,
            )
            self._done[key] = (result, episodes)
        return self._done[key]

    def figures(self, checkpoint: Path, best: float) -> StageFigures:
        """Everything the table needs of one checkpoint."""
        sampled, episodes = self._run(checkpoint, 1.0)
        at_best = self.run(checkpoint, best)
        two_hop = sampled.by_hops().get(2)
        return StageFigures(
            best_temperature=best,
            best=at_best.supported_success.estimate,
            greedy=self.run(checkpoint, 0.0).supported_success.estimate,
            sampled=sampled.supported_success.estimate,
            sampled_two_hop=two_hop["supported"].estimate if two_hop else math.nan,
            shortcuts=sampled.shortcut_rate.estimate,
            pass_at_8=self._pass(checkpoint),
            entropy=sampled_entropy(episodes),
            outcomes=tuple(row.supported for row in at_best.episodes),
        )

    def _pass(self, checkpoint: Path) -> float:
        """pass@8 of supported success at T = 1 over the first questions."""
        from visor_core.agent.episode import run_reference

        asked = self.questions[:PASS_QUESTIONS]
        policy = self._stages.policy(checkpoint, self._index)
        episodes = run_reference(
            self._environment, policy, asked, rollouts=PASS_AT, seed=self._stages.seed, step=1, temperature=1.0
        )
        groups = [episodes[i : i + PASS_AT] for i in range(0, len(episodes), PASS_AT)]
        return sum(pass_at_k(sum(map(supported, group)), PASS_AT, PASS_AT) for group in groups) / len(groups)


def sampled_entropy(episodes: Sequence[Trajectory]) -> float:
    """Mean −log p of the tokens sampled at T = 1, in nats: an unbiased estimate of the policy's entropy a token."""
    logprobs = [p for episode in episodes for turn in episode.turns for p in turn.completion.logprobs]
    return -sum(logprobs) / max(1, len(logprobs))


def markdown(results: Sequence[SeedFigures], split: str) -> str:
    """The table: pooled shares with 95 % intervals, the seeds beside them, and the gate."""
    questions = sum(r.questions for r in results)
    lines = [
        f"{len(results)} seeds, {questions} {split} questions in all; supported success, pooled with 95 % interval.",
        "",
        "| | base | SFT | GRPO |",
        "|---|---|---|---|",
    ]
    for label, name in (
        ("greedy", "greedy"),
        ("sampled, T = 1", "sampled"),
        ("at its best temperature", "best"),
    ):
        lines.append("| " + " | ".join([label, *(_pooled(results, stage, name) for stage in STAGES)]) + " |")
    for label, name in (
        ("two-hop, sampled", "sampled_two_hop"),
        ("shortcuts, sampled", "shortcuts"),
        ("pass@8", "pass_at_8"),
        ("entropy, nats a token", "entropy"),
        ("best temperature", "best_temperature"),
    ):
        lines.append("| " + " | ".join([label, *(_by_seed(results, stage, name) for stage in STAGES)]) + " |")
    lines += ["", _gate(results)]
    return "\n".join(lines) + "\n"


def _pooled(results: Sequence[SeedFigures], stage: str, name: str) -> str:
    shares = [(getattr(r.stages[stage], name), r.questions) for r in results]
    successes = sum(round(share * count) for share, count in shares)
    return f"{wilson(successes, sum(count for _, count in shares))} ({_by_seed(results, stage, name)})"


def _by_seed(results: Sequence[SeedFigures], stage: str, name: str) -> str:
    return ", ".join(f"{getattr(r.stages[stage], name):.3f}" for r in results)


def _gate(results: Sequence[SeedFigures]) -> str:
    """GRPO at its best temperature against SFT at its best, questions paired, the seed as cluster."""
    gains = [
        float(after) - float(before)
        for r in results
        for before, after in zip(r.stages["sft"].outcomes, r.stages["grpo"].outcomes, strict=True)
    ]
    clusters = [r.seed for r in results for _ in r.stages["sft"].outcomes]
    if len(results) < 2:
        return f"Gate: gain {sum(gains) / max(1, len(gains)):+.3f} (one seed: no test over seeds)."
    test = cluster_t_test(gains, clusters)
    return f"Gate: gain {test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}], p = {test.p_value:.3f}."
