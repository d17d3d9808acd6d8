"""The comparison of strategies as Markdown: success by stratum, tokens a turn, what differs beyond its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from visor_core.evaluation.statistics import Interval, PairedTest, wilson
from visor_core.nano.rivals import RivalFigures
from visor_core.nano.study_figures import Outcomes
from visor_core.nano.study_table import STRATA, Keep, chosen, everything, paired


def rivals_markdown(
    results: Sequence[RivalFigures], budgets: Mapping[str, tuple[int, int]], split: str, commit: str
) -> str:
    """All strategies of the comparison, visor first."""
    names = list(results[0].greedy)
    questions = len(results[0].strata.hops)
    strata = {name: keep for name, keep in STRATA.items() if any(_kept(r, keep) for r in results)}
    lines = [
        f"{len(results)} seed{'s' if len(results) > 1 else ''}, {questions} {split} questions each; commit {commit}. "
        "Supported success with 95 % intervals; each strategy is trained from the same base model for equal time, "
        "budgeted in steps. Without an Evidence Space a fact counts as recorded if the thought at its page states it. "
        "`-equal`: no more pictures at once than visor's window; `react-page`: one page at a time in full resolution.",
        "",
        "| strategy | SFT + GRPO steps | minutes | greedy | sampled, T = 1 | answers right, greedy | tokens a turn "
        "| image tokens a turn | turns |",
        "|---" * 9 + "|",
    ]
    for name in names:
        greedy = [r.greedy[name] for r in results]
        minutes = sum(sum(r.seconds[name]) for r in results) / 60 / len(results)
        lines.append(
            f"| {name} | {budgets[name][0]} + {budgets[name][1]} | {minutes:.1f} "
            f"| {pooled(results, name, 'greedy')} | {pooled(results, name, 'sampled')} "
            f"| {pooled(results, name, 'greedy', 'right')} | {fmean([g.tokens_a_turn for g in greedy]):.1f} "
            f"| {fmean([g.image_tokens_a_turn for g in greedy]):.1f} | {fmean([g.turns for g in greedy]):.2f} |"
        )
    lines += ["", f"| supported, greedy | {' | '.join(strata)} |", "|---" * (len(strata) + 1) + "|"]
    for name in names:
        cells = [str(pooled(results, name, "greedy", keep=keep)) for keep in strata.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", *_differences(results, names)]
    return "\n".join(lines) + "\n"


def pooled(
    results: Sequence[RivalFigures], name: str, run: str, what: str = "supported", keep: Keep = everything
) -> Interval:
    """The share over all seeds, in a stratum."""
    values = [value for r in results for value in chosen(r, getattr(_run(r, name, run), what), keep)]
    return wilson(sum(values), len(values))


def difference(results: Sequence[RivalFigures], name: str, run: str) -> PairedTest:
    """visor minus a strategy."""
    return paired([(r.seed, _run(r, "visor", run).supported, _run(r, name, run).supported) for r in results])


def _differences(results: Sequence[RivalFigures], names: Sequence[str]) -> list[str]:
    """One line a rival: the difference, and whether it is one."""
    over = (
        "the seed as cluster" if len(results) > 1 else "one seed: questions resampled, nothing is said of other seeds"
    )
    lines = [f"visor minus each, questions paired, {over}:", ""]
    for name in names:
        if name == "visor":
            continue
        parts = []
        for run, label in (("greedy", "greedy"), ("sampled", "T = 1")):
            test = difference(results, name, run)
            verdict = "within the interval" if test.low <= 0 <= test.high else "beyond the interval"
            parts.append(f"{label} {test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}], {verdict}")
        lines.append(f"- {name}: {'; '.join(parts)}")
    return lines


def _run(results: RivalFigures, name: str, run: str) -> Outcomes:
    found: dict[str, Outcomes] = getattr(results, run)
    return found[name]


def _kept(results: RivalFigures, keep: Keep) -> bool:
    return bool(chosen(results, results.strata.answerable, keep))
