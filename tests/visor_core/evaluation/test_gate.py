"""The champion gate over a table of cases, with outcomes whose intervals can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.visor_core.evaluation.episodes import episode
from visor_core.evaluation.gate import Outcomes, compared, decide, fall, is_better, is_worse
from visor_core.evaluation.results import BenchmarkResult, score_episode


def _outcomes(right: range | int, count: int = 100) -> dict[str, bool]:
    """`count` questions, of which those in `right` (or the first so many) are right."""
    chosen = range(right) if isinstance(right, int) else right
    return {f"q{number:03d}": number in chosen for number in range(count)}


LOW, MIDDLE, HIGH = _outcomes(30), _outcomes(range(2, 63)), _outcomes(90)
"""30, 61 and 90 of 100."""
NEAR = _outcomes(60)
"""60 of 100, two of which MIDDLE misses while it has three others: no difference that counts."""


@pytest.mark.parametrize(
    ("sft", "grpo", "reigning", "reigns", "out_of_date", "crowned", "because"),
    [
        # Nobody reigns: the best of today's, GRPO where they are equal.
        (LOW, HIGH, None, "", False, "grpo", "no champion"),
        (HIGH, LOW, None, "", False, "sft", "no champion"),
        (HIGH, HIGH, None, "", False, "grpo", "no champion"),
        # Significantly better replaces, whatever the upstream.
        (LOW, HIGH, MIDDLE, "", False, "grpo", "significantly better"),
        (LOW, HIGH, MIDDLE, "", True, "grpo", "significantly better"),
        # Not worse replaces only a champion whose upstream is out of date.
        (LOW, MIDDLE, NEAR, "", False, "", "not significantly better"),
        (LOW, MIDDLE, NEAR, "", True, "grpo", "out of date"),
        (LOW, NEAR, MIDDLE, "", True, "grpo", "out of date"),
        # Worse beyond the interval never replaces.
        (LOW, MIDDLE, HIGH, "", False, "", "worse"),
        (LOW, MIDDLE, HIGH, "", True, "", "worse"),
        # The champion is one of today's checkpoints.
        (LOW, HIGH, HIGH, "grpo", False, "", "is the champion"),
        (MIDDLE, HIGH, MIDDLE, "sft", False, "grpo", "significantly better"),
        (MIDDLE, NEAR, MIDDLE, "sft", False, "", "is the champion"),
        # GRPO that is worse than SFT is not put up: SFT is, and must stand against the champion itself.
        (HIGH, LOW, MIDDLE, "", False, "sft", "significantly better"),
        (MIDDLE, LOW, HIGH, "", True, "", "worse"),
        # GRPO that finished only what is easy has the higher share, and is worse on what both finished.
        (_outcomes(60), {q: n > 9 for n, q in enumerate(_outcomes(0, 30))}, None, "", False, "sft", "no champion"),
        # Nothing in common: the champion stays.
        (LOW, HIGH, {"other": True}, "", True, "", "no question"),
        # Three questions prove nothing: not significant, though the interval says so.
        (_outcomes(3, 3), _outcomes(3, 3), _outcomes(0, 3), "", False, "", "not significantly better"),
        (_outcomes(3, 3), _outcomes(3, 3), _outcomes(0, 3), "", True, "grpo", "out of date"),
    ],
)
def test_the_gate(
    sft: Outcomes,
    grpo: Outcomes,
    reigning: Outcomes | None,
    reigns: str,
    out_of_date: bool,
    crowned: str,
    because: str,
) -> None:
    decision = decide({"sft": sft, "grpo": grpo}, reigning, warm_start="sft", reigns=reigns, out_of_date=out_of_date)
    assert decision.crowned == crowned
    assert because in decision.reason


def test_a_comparison_is_over_the_questions_that_both_finished() -> None:
    test = compared({"a": True, "b": False, "c": True}, {"b": True, "c": True, "d": False})
    assert (test.count, test.difference) == (2, 0.5)


def test_better_and_worse_exclude_each_other() -> None:
    gain, loss, even = compared(LOW, HIGH), compared(HIGH, LOW), compared(NEAR, MIDDLE)
    assert (is_better(gain), is_worse(gain)) == (True, False)
    assert (is_better(loss), is_worse(loss)) == (False, True)
    assert (is_better(even), is_worse(even)) == (False, False)


def _benchmark(outcomes: Outcomes) -> BenchmarkResult:
    rows = tuple(replace(ROW, question_id=name, supported=right) for name, right in outcomes.items())
    return BenchmarkResult("nano", "development", "p", "", "visor", "t", 0, 0.0, "v", 1.0, rows)


ROW = score_episode(episode("47"))


def test_a_fall_is_beyond_the_interval() -> None:
    assert fall(_benchmark(HIGH), _benchmark(LOW)).startswith("-0.600 [")
    assert fall(_benchmark(MIDDLE), _benchmark(NEAR)) == ""
    assert fall(_benchmark(LOW), _benchmark(HIGH)) == ""
    # Other questions: against the interval of the one before, [0.826, 0.945].
    others = {f"other {name}": right for name, right in MIDDLE.items()}
    assert "on other questions" in fall(_benchmark(HIGH), _benchmark(others))
    assert fall(_benchmark(MIDDLE), _benchmark({f"other {name}": right for name, right in NEAR.items()})) == ""
