"""The study's figures as Markdown, made to stand in the README: the targets, met or missed, then everything measured.

Shares are pooled over the seeds with Wilson's 95 % interval over all questions, the seeds' own shares in brackets; the
gate is paired by question with the seed as cluster. Nothing is rounded up to a target: a miss says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from visor_core.config.policies import POLICIES
from visor_core.evaluation.statistics import (
    Interval,
    PairedTest,
    bootstrap_mean,
    cluster_t_test,
    limits,
    wilson,
)
from visor_core.nano.study_figures import Outcomes, RivalFigures, SeedFigures

STAGES = {policy.short: policy.label for policy in POLICIES}
WALL_CLOCK = dict(zip(STAGES, (4.0, 4.0, 5.0), strict=True))
"""Minutes a stage may take on two idle cores."""

Keep = Callable[[int, bool, bool], bool]
"""(hops, legible, answerable) → whether the question belongs to the stratum."""
STRATA: Mapping[str, Keep] = {
    "single-hop": lambda hops, legible, answerable: answerable and hops == 1,
    "two-hop": lambda hops, legible, answerable: answerable and hops == 2,
    "three-hop": lambda hops, legible, answerable: answerable and hops == 3,
    "legible without a crop": lambda hops, legible, answerable: answerable and legible,
    "crop needed": lambda hops, legible, answerable: answerable and not legible,
}
MULTI_HOP: Keep = lambda hops, legible, answerable: answerable and hops > 1  # noqa: E731 (a stratum like the others)


def everything(hops: int, legible: bool, answerable: bool) -> bool:
    """All questions."""
    return True


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the targets: what is asked, what was found."""

    name: str
    goal: str
    found: str
    met: bool


Value = TypeVar("Value")


def chosen(results: SeedFigures | RivalFigures, values: Sequence[Value], keep: Keep = everything) -> list[Value]:
    """The outcomes of one stratum."""
    strata = results.strata
    rows = zip(values, strata.hops, strata.legible, strata.answerable, strict=True)
    return [value for value, hops, legible, answerable in rows if keep(hops, legible, answerable)]


def outcomes(results: SeedFigures, stage: str, run: str) -> Outcomes:
    """One run of one stage."""
    found: Outcomes = getattr(results.policies[stage], run)
    return found


def pooled(
    results: Sequence[SeedFigures], stage: str, run: str, name: str = "supported", keep: Keep = everything
) -> tuple[Interval, list[float]]:
    """The share over all seeds, and each seed's own."""
    by_seed = [chosen(r, getattr(outcomes(r, stage, run), name), keep) for r in results]
    values = [value for found in by_seed for value in found]
    return wilson(sum(values), len(values)), [_mean(found) for found in by_seed]


def gain(results: Sequence[SeedFigures], run: str) -> PairedTest:
    """GRPO minus SFT."""
    return paired([(r.seed, outcomes(r, "grpo", run).supported, outcomes(r, "sft", run).supported) for r in results])


def paired(seeds: Sequence[tuple[int, Sequence[bool], Sequence[bool]]]) -> PairedTest:
    """One side minus the other, questions paired, the seed as cluster.

    What three seeds can show and what they cannot stands at `cluster_t_test`. With one seed its questions are resampled
    and no test over seeds is made (p is NaN).

    Args:
        seeds: seed, outcomes of one side, outcomes of the other.
    """
    differences, clusters = [], []
    for seed, ours, theirs in seeds:
        differences += [float(a) - float(b) for a, b in zip(ours, theirs, strict=True)]
        clusters += [seed] * len(ours)
    if len(seeds) < 2:
        only = bootstrap_mean(differences)
        return PairedTest(only.estimate, only.low, only.high, math.nan, only.count, 1, only.few)
    return cluster_t_test(differences, clusters)


def in_words(test: PairedTest) -> str:
    """A difference with its interval and p-value."""
    if test.clusters > 1 and math.isnan(test.p_value):
        return f"{test.difference:+.3f} in every seed: no scatter to test against"
    p_value = "one seed, no test over seeds" if math.isnan(test.p_value) else f"p = {test.p_value:.3f}"
    return f"{test.difference:+.3f} {limits(test, '+')}, {p_value}"


def a_turn(
    runs: Sequence[tuple[SeedFigures | RivalFigures, Outcomes]], what: str = "tokens", keep: Keep = everything
) -> float:
    """Tokens of a prompt, mean over all turns of the given runs' episodes in a stratum.

    Args:
        what: `tokens` (of all kinds) or `image_tokens`.
    """
    found = sum(sum(chosen(r, getattr(run, what), keep)) for r, run in runs)
    return found / max(1, sum(sum(chosen(r, run.turns, keep)) for r, run in runs))


def stamp(results: Sequence[SeedFigures | RivalFigures], commit: str) -> str:
    """The commit of a table, and those that its stages were trained at where they are others."""
    trained = sorted({c for r in results for c in r.commits} - {commit})
    return f"commit {commit}" + (f", trained at {', '.join(trained)}" if trained else "")


def targets(results: Sequence[SeedFigures]) -> list[Target]:
    """The study's targets with what was found."""

    def share(name: str, goal: str, found: tuple[Interval, list[float]], met: Callable[[float], bool]) -> Target:
        return Target(name, goal, _share(*found), met(found[0].estimate))

    gate = gain(results, "best")
    steps = [a - b for a, b in zip(*(pooled(results, s, "sampled")[1] for s in ("grpo", "sft")), strict=True)]
    sampled = pooled(results, "grpo", "sampled")
    lows = [
        wilson(sum(found), len(found)).low for found in (list(outcomes(r, "sft", "greedy").supported) for r in results)
    ]
    greedy = pooled(results, "grpo", "greedy")
    visual = [r.recall["retriever"] for r in results]
    text = [r.recall["BM25"] for r in results]
    recalled = f"{_mean(visual):.3f} ({_list(visual)}); BM25 {_mean(text):.3f} ({_list(text)})"
    return [
        share("untrained base, greedy", "≤ 0.02", pooled(results, "base", "greedy"), lambda v: v <= 0.02),
        share("after SFT, sampled", "≥ 0.25", pooled(results, "sft", "sampled"), lambda v: v >= 0.25),
        share("after SFT, greedy", "≥ 0.50", pooled(results, "sft", "greedy"), lambda v: v >= 0.50),
        Target(
            "**gate**: GRPO at its best temperature over SFT at its best", "≥ +0.05, p < 0.05", in_words(gate),
            gate.difference >= 0.05 and gate.p_value < 0.05,
        ),
        share("after GRPO, sampled", "≥ 0.50", sampled, lambda v: v >= 0.50),
        Target("GRPO over SFT, sampled, every seed", "≥ +0.20", _list(steps, "+.3f"), min(steps) >= 0.20),
        Target(
            "after GRPO, greedy, every seed", f"≥ SFT's interval: {_list(lows)}", _share(*greedy),
            all(value >= low for value, low in zip(greedy[1], lows, strict=True)),
        ),
        share("multi-hop after GRPO, sampled", "≥ 0.40", pooled(results, "grpo", "sampled", keep=MULTI_HOP),
              lambda v: v >= 0.40),
        share("answers with missing evidence after GRPO, sampled", "≤ 0.05",
              pooled(results, "grpo", "sampled", "hasty"), lambda v: v <= 0.05),
        Target("retriever: page recall@1 (BM25 alone)", "≥ 0.90 (≤ 0.75)", recalled,
               _mean(visual) >= 0.90 and _mean(text) <= 0.75),
        Target("reading from the overview / a tight crop", "≤ 0.10 / ≥ 0.95",
               f"{_list([r.reading['overview'] for r in results])} / {_list([r.reading['crop'] for r in results])}",
               all(r.reading["overview"] <= 0.10 and r.reading["crop"] >= 0.95 for r in results)),
        Target("scripted ceiling", "≥ 0.98", _list([r.ceiling for r in results]),
               all(r.ceiling >= 0.98 for r in results)),
    ]  # fmt: skip


def study_markdown(results: Sequence[SeedFigures], split: str, commit: str) -> str:
    """The main study: targets, figures, gate, wall clock."""
    lines = [_heading(results, split, commit), "", "| | goal | measured | |", "|---|---|---|---|"]
    for target in targets(results):
        lines.append(f"| {target.name} | {target.goal} | {target.found} | {'met' if target.met else '**missed**'} |")
    lines += ["", *figures_table(results), "", _sharpening(results), "", *_wall_clock(results)]
    return "\n".join(lines) + "\n"


def long_markdown(
    results: Mapping[str, Sequence[SeedFigures]], budgets: Mapping[str, str], split: str, commit: str
) -> str:
    """The longer study: the core tier with larger budgets, and the rich tier, without targets."""
    parts = []
    for name, found in results.items():
        parts += [f"**{name}** ({budgets[name]}). {_heading(found, split, commit)}", "", *figures_table(found), ""]
        parts += [*_wall_clock(found, goals=False), ""]
    return "\n".join(parts).rstrip() + "\n"


def figures_table(results: Sequence[SeedFigures]) -> list[str]:
    """Everything measured of base, SFT and GRPO."""
    rows: list[tuple[str, Callable[[str], str]]] = [
        ("greedy", lambda s: _share(*pooled(results, s, "greedy"))),
        ("sampled, T = 1", lambda s: _share(*pooled(results, s, "sampled"))),
        ("at its best temperature", lambda s: _share(*pooled(results, s, "best"))),
        ("best temperature", lambda s: _list([outcomes(r, s, "best").temperature for r in results], "g")),
    ]  # fmt: skip
    for name, keep in {**STRATA, "multi-hop": MULTI_HOP}.items():
        if any(chosen(r, r.strata.answerable, keep) for r in results):
            rows.append((f"{name}, sampled", lambda s, keep=keep: _share(*pooled(results, s, "sampled", keep=keep))))  # type: ignore[misc]
    for name, run in (("sampled", "sampled"), ("at the best temperature", "best")):
        rows.append(
            (f"answers with missing evidence, {name}", lambda s, run=run: _share(*pooled(results, s, run, "hasty")))  # type: ignore[misc]
        )
    rows.append(("of the sampled right (shortcuts)", lambda s: _share(*pooled(results, s, "sampled", "shortcuts"))))
    if not all(all(r.strata.answerable) for r in results):
        rows += [
            ("refused where there is no answer, sampled",
             lambda s: _share(*pooled(results, s, "sampled", "refused", lambda h, g, a: not a))),
            ("refused where there is one, sampled",
             lambda s: _share(*pooled(results, s, "sampled", "refused", lambda h, g, a: a))),
        ]  # fmt: skip
    rows += [
        ("pass@8", lambda s: _pass(results, s)),
        ("entropy, nats a token", lambda s: _list([r.policies[s].entropy for r in results])),
        ("tokens a turn, greedy", lambda s: _list([a_turn([(r, outcomes(r, s, "greedy"))]) for r in results], ".1f")),
    ]  # fmt: skip
    lines = ["| supported success | " + " | ".join(STAGES.values()) + " |", "|---" * (len(STAGES) + 1) + "|"]
    for name, cell in rows:
        lines.append(f"| {name} | " + " | ".join(cell(stage) for stage in STAGES) + " |")
    lines += ["", *_probes(results)]
    return lines


def _heading(results: Sequence[SeedFigures], split: str, commit: str) -> str:
    questions = [len(r.strata.hops) for r in results]
    multi = sum(sum(chosen(r, [h > 1 for h in r.strata.hops])) for r in results) / max(1, sum(questions))
    parts = [
        f"{len(results)} seed{'s' if len(results) > 1 else ''}, {questions[0]} {split} questions each, "
        f"{multi:.0%} of them multi-hop; {stamp(results, commit)}.",
        "Shares with 95 % intervals over questions, the seeds in brackets; tests over seeds take a seed as one unit.",
    ]
    if split != "test":
        parts.append("Temperatures were chosen on these very questions.")
    return " ".join(parts)


def _sharpening(results: Sequence[SeedFigures]) -> str:
    """What kind of gain it is, by the paired tests at T = 1, greedy and at the best temperature."""
    found = {name: gain(results, run) for name, run in (("T = 1", "sampled"), ("greedy", "greedy"), ("best", "best"))}
    text = "GRPO over SFT: " + "; ".join(f"{name} {in_words(test)}" for name, test in found.items()) + "."
    best = found["best"]
    if best.low > 0:
        return text + " The gain stands at the best temperature of both: it is more than sharpening."
    untested = math.isnan(best.low) and best.difference > 0
    if found["T = 1"].low > 0 and not untested:
        return text + " Only sampling at T = 1 improved beyond its interval: the gain is sharpening."
    if untested:
        return text + " The seeds do not scatter, so nothing is said of other seeds."
    return text + " No gain stands beyond its interval."


def _probes(results: Sequence[SeedFigures]) -> list[str]:
    kinds = {
        "overview": "overview",
        "crop": "tight crop",
        "title": "title",
        "legible": "legible page",
        "locate": "locating",
    }
    read = ", ".join(f"{label} {_list([r.reading[name] for r in results])}" for name, label in kinds.items())
    visual, text = (_list([r.recall[name] for r in results]) for name in ("retriever", "BM25"))
    return [
        f"Base model, share of exact replies: {read}. Page recall@1: retriever {visual}, BM25 {text}. "
        f"Scripted ceiling: {_list([r.ceiling for r in results])}."
    ]


def _wall_clock(results: Sequence[SeedFigures], *, goals: bool = True) -> list[str]:
    """Minutes a stage took in each seed; what a killed process spent is not in them, and is marked."""
    cells = []
    for name in (*STAGES, "retriever"):
        minutes = [
            ("≥ " if name in r.interrupted else "") + f"{r.seconds.get(name, math.nan) / 60:.1f}" for r in results
        ]
        goal = f" (goal ≤ {WALL_CLOCK[name]:.0f})" if goals and name in WALL_CLOCK else ""
        cells.append(f"{STAGES.get(name, name)} {', '.join(minutes)}{goal}")
    return ["Minutes, as the machine was loaded at the time: " + "; ".join(cells) + "."]


def _pass(results: Sequence[SeedFigures], stage: str) -> str:
    values = [value for r in results for value in r.policies[stage].pass_at_8]
    return f"{bootstrap_mean(values)} ({_list([_mean(r.policies[stage].pass_at_8) for r in results])})"


def _share(interval: Interval, seeds: Sequence[float]) -> str:
    return f"{interval} ({_list(seeds)})"


def _list(values: Sequence[float], form: str = ".3f") -> str:
    return ", ".join(format(value, form) for value in values)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
