"""The comparison of strategies as Markdown: success and tokens a turn by stratum, and what differs beyond its interval.

Differences are visor minus a rival, tested as the gate is: questions paired, the seed as cluster, in every stratum too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from visor_core.evaluation.statistics import Interval, PairedTest, wilson
from visor_core.nano.study_figures import Outcomes, RivalFigures
from visor_core.nano.study_table import STRATA, Keep, a_turn, chosen, everything, in_words, paired, stamp

RUNS = {"greedy": "greedy", "sampled": "T = 1"}


def rivals_markdown(
    results: Sequence[RivalFigures],
    budgets: Mapping[str, tuple[int, int]],
    neutral: Mapping[str, Any],
    split: str,
    commit: str,
) -> str:
    """All strategies of the comparison, visor first.

    Args:
        budgets: SFT and GRPO steps by strategy.
        neutral: the settings of the base model that all start from.
    """
    names = list(results[0].greedy)
    strata = {name: keep for name, keep in STRATA.items() if any(_kept(r, keep) for r in results)}
    lines = [
        _heading(results, neutral, split, commit),
        "",
        "| strategy | SFT + GRPO steps | minutes | greedy | sampled, T = 1 | answers right, greedy | tokens a turn "
        "| image tokens a turn | turns |",
        "|---" * 9 + "|",
    ]
    for name in names:
        runs = [(r, r.greedy[name]) for r in results]
        minutes = sum(sum(r.seconds[name]) for r in results) / 60 / len(results)
        least = "≥ " if any(name in r.interrupted for r in results) else ""
        lines.append(
            f"| {name} | {budgets[name][0]} + {budgets[name][1]} | {least}{minutes:.1f} "
            f"| {pooled(results, name, 'greedy')} | {pooled(results, name, 'sampled')} "
            f"| {pooled(results, name, 'greedy', 'right')} | {a_turn(runs):.1f} | {a_turn(runs, 'image_tokens'):.1f} "
            f"| {fmean(fmean(run.turns) for _, run in runs):.2f} |"
        )
    for run, label in RUNS.items():
        cells = {n: [str(pooled(results, n, run, keep=keep)) for keep in strata.values()] for n in names}
        lines += _by_stratum(f"supported, {label}", strata, cells)
    cells = {n: [_tokens(results, n, keep) for keep in strata.values()] for n in names}
    lines += _by_stratum("tokens a turn, greedy (of pictures)", strata, cells)
    rivals = [name for name in names if name != "visor"]
    lines += ["", _how_tested(results), ""]
    for name in rivals:
        parts = [f"{label} {_tested(difference(results, name, run))}" for run, label in RUNS.items()]
        lines.append(f"- {name}: {'; '.join(parts)}")
    for run, label in RUNS.items():
        cells = {n: [_tested(difference(results, n, run, keep)) for keep in strata.values()] for n in rivals}
        lines += _by_stratum(f"visor minus, {label}", strata, cells)
    return "\n".join(lines) + "\n"


def pooled(
    results: Sequence[RivalFigures], name: str, run: str, what: str = "supported", keep: Keep = everything
) -> Interval:
    """The share over all seeds, in a stratum."""
    values = [value for r in results for value in chosen(r, getattr(_run(r, name, run), what), keep)]
    return wilson(sum(values), len(values))


def difference(results: Sequence[RivalFigures], name: str, run: str, keep: Keep = everything) -> PairedTest:
    """visor minus a strategy, in a stratum; seeds without a question of it are left out."""
    pairs = [(r, _run(r, "visor", run).supported, _run(r, name, run).supported) for r in results if _kept(r, keep)]
    return paired([(r.seed, chosen(r, ours, keep), chosen(r, theirs, keep)) for r, ours, theirs in pairs])


def _heading(results: Sequence[RivalFigures], neutral: Mapping[str, Any], split: str, commit: str) -> str:
    seeds = ", ".join(str(r.seed) for r in results)
    base = ", ".join(f"{key}: {value}" for key, value in neutral.items()) or "no setting changed"
    return (
        f"{len(results)} seed{'s' if len(results) > 1 else ''} ({seeds}), {len(results[0].strata.hops)} {split} "
        f"questions each; {stamp(results, commit)}. Supported success with 95 % intervals; all strategies "
        f"train from the same base model ({base}) for equal time, budgeted in steps. Without an Evidence Space a fact "
        "counts as recorded if the thought at its page states it. `-equal`: no more pictures at once than visor's "
        "window; `react-page`: one page at a time in full resolution."
    )


def _how_tested(results: Sequence[RivalFigures]) -> str:
    over = (
        "the seed as cluster" if len(results) > 1 else "one seed: questions resampled, nothing is said of other seeds"
    )
    return f"visor minus each, questions paired, {over}; intervals of 95 %, not corrected for their number:"


def _tested(test: PairedTest) -> str:
    """A difference, and whether it is one."""
    if test.clusters > 1 and math.isnan(test.p_value):
        return f"{test.difference:+.3f} in every seed, no test without scatter"
    found = in_words(test) if test.clusters > 1 else f"{test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}]"
    return f"{found}, {'within' if test.low <= 0 <= test.high else 'beyond'} the interval"


def _tokens(results: Sequence[RivalFigures], name: str, keep: Keep) -> str:
    runs = [(r, r.greedy[name]) for r in results]
    return f"{a_turn(runs, keep=keep):.1f} ({a_turn(runs, 'image_tokens', keep):.1f})"


def _by_stratum(head: str, strata: Mapping[str, Keep], cells: Mapping[str, Sequence[str]]) -> list[str]:
    """A table with a row a strategy and a column a stratum."""
    rows = [f"| {name} | {' | '.join(row)} |" for name, row in cells.items()]
    return ["", f"| {head} | {' | '.join(strata)} |", "|---" * (len(strata) + 1) + "|", *rows]


def _run(results: RivalFigures, name: str, run: str) -> Outcomes:
    found: dict[str, Outcomes] = getattr(results, run)
    return found[name]


def _kept(results: RivalFigures, keep: Keep) -> bool:
    return bool(chosen(results, results.strata.answerable, keep))
