"""Intervals and tests against values worked by hand or taken from printed tables."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visor_core.evaluation.statistics import (
    bootstrap_mean,
    cluster_t_test,
    mcnemar,
    paired_difference,
    pass_at_k,
    sign_flip,
    t_quantile,
    wilson,
)


def test_wilson_against_hand_computation() -> None:
    # 8 of 10, z = 1.96: centre = (0.8 + 0.19208)/(1.38415), half = 1.96/1.38415·sqrt(0.016 + 0.0096036)
    interval = wilson(8, 10)
    assert interval.estimate == 0.8
    assert interval.low == pytest.approx(0.4902, abs=1e-4)
    assert interval.high == pytest.approx(0.9433, abs=1e-4)


def test_wilson_edges() -> None:
    assert wilson(0, 10).low == 0.0
    assert wilson(0, 10).high == pytest.approx(0.2775, abs=1e-4)
    assert wilson(10, 10).high == 1.0
    empty = wilson(0, 0)
    assert math.isnan(empty.estimate)
    assert (empty.low, empty.high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="impossible"):
        wilson(3, 2)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_brackets_the_share(counts: tuple[int, int]) -> None:
    successes, trials = counts
    interval = wilson(successes, trials)
    assert 0.0 <= interval.low <= interval.estimate <= interval.high <= 1.0


def test_bootstrap_of_a_constant_has_no_width() -> None:
    interval = bootstrap_mean([0.25] * 20)
    assert (interval.estimate, interval.low, interval.high, interval.count) == (0.25, 0.25, 0.25, 20)
    assert math.isnan(bootstrap_mean([]).estimate)


def test_bootstrap_is_seeded_and_near_the_normal_interval() -> None:
    values = [0.0] * 50 + [1.0] * 50
    first, again = bootstrap_mean(values, seed=3), bootstrap_mean(values, seed=3)
    assert first == again
    assert first.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)
    assert first.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)


def test_clusters_that_agree_within_themselves_widen_the_interval() -> None:
    values = [0.0] * 50 + [1.0] * 50
    labels = [i // 25 for i in range(100)]
    plain, clustered = bootstrap_mean(values), bootstrap_mean(values, clusters=labels)
    assert clustered.high - clustered.low > 2 * (plain.high - plain.low)
    with pytest.raises(ValueError, match="cluster labels"):
        bootstrap_mean(values, clusters=labels[:-1])


def test_mcnemar_by_hand() -> None:
    # Five gained, one lost: p = 2·(C(6,0) + C(6,1))/2^6 = 14/64.
    first = [False] * 5 + [True] + [True] * 4
    second = [True] * 5 + [False] + [True] * 4
    assert mcnemar(first, second) == pytest.approx(14 / 64)
    assert mcnemar([True, False], [True, False]) == 1.0
    with pytest.raises(ValueError, match="differ in length"):
        mcnemar([True], [])


def test_sign_flip_is_exact_for_few() -> None:
    # Of the 8 sign patterns of (1, 2, 3) only +++ and --- reach |6|.
    assert sign_flip([1.0, 2.0, 3.0]) == pytest.approx(2 / 8)
    # Two clusters with sums 3 and 3: patterns ++ and -- reach 6.
    assert sign_flip([1.0, 2.0, 3.0], clusters=["a", "a", "b"]) == pytest.approx(2 / 4)
    assert sign_flip([]) == 1.0
    assert sign_flip([0.0, 0.0]) == 1.0


def test_sign_flip_by_sampling_agrees_with_mcnemar() -> None:
    first = [False] * 16 + [True] * 4
    second = [True] * 16 + [False] * 4
    differences = [float(b) - float(a) for a, b in zip(first, second, strict=True)]
    assert sign_flip(differences) == pytest.approx(mcnemar(first, second), abs=0.01)


def test_cluster_t_against_the_table() -> None:
    # Cluster means 1, 2, 3: mean 2, standard error 1/sqrt(3), t = 3.4641 with 2 degrees: p = 0.0742.
    result = cluster_t_test([1.0, 1.0, 2.0, 3.0], ["a", "a", "b", "c"])
    assert result.difference == pytest.approx(2.0)
    assert result.p_value == pytest.approx(0.0742, abs=1e-4)
    assert result.low == pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-3)
    assert (result.count, result.clusters) == (4, 3)
    assert t_quantile(0.975, 10) == pytest.approx(2.228, abs=1e-3)
    with pytest.raises(ValueError, match="at least two"):
        cluster_t_test([1.0], ["a"])


def test_cluster_t_is_the_cluster_robust_test_of_pooled_differences() -> None:
    """Intercept alone, G clusters of n: CR2 is G / (G - 1) times the sum of squared cluster residuals over (G n)²."""
    differences = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, -1.0, 1.0, 0.0]
    seeds = [i // 4 for i in range(12)]
    pooled = sum(differences) / 12
    residuals = [sum(d - pooled for d, seed in zip(differences, seeds, strict=True) if seed == g) for g in range(3)]
    error = math.sqrt(3 / 2 * sum(r * r for r in residuals)) / 12
    result = cluster_t_test(differences, seeds)
    assert result.difference == pytest.approx(pooled)
    assert result.high - result.difference == pytest.approx(t_quantile(0.975, 2) * error)


@pytest.mark.parametrize(
    ("gain", "scatter", "passes"),
    [
        (0.0, (0.02, 0.02, 0.02), 0.05),
        (0.0, (0.01, 0.01, 0.05), 0.02),
        (0.05, (0.02, 0.02, 0.02), 0.38),
        (0.1, (0.02, 0.02, 0.02), 0.98),
        (0.1, (0.04, 0.04, 0.04), 0.62),
    ],
)
def test_what_three_seeds_can_show(gain: float, scatter: tuple[float, ...], passes: float) -> None:
    """The shares of studies that the docstring gives: false alarms where there is no gain, the gate where there is."""
    means = np.random.default_rng(0).normal(gain, scatter, (3000, 3))
    found = [cluster_t_test(row, (0, 1, 2)) for row in means.tolist()]
    passed = [test.p_value < 0.05 and (gain == 0.0 or test.difference >= 0.05) for test in found]
    assert sum(passed) / len(passed) == pytest.approx(passes, abs=0.025)


@pytest.mark.parametrize(
    ("differences", "clusters"),
    [
        ([1.0, 1.0], [0, 1]),
        # means of 0.1 in exact arithmetic, which rounding tells apart
        ([0.1, 0.1, 0.1, 0.0, 0.2, 0.1, 0.3, 0.0, 0.0], [0, 0, 0, 1, 1, 1, 2, 2, 2]),
        ([0.1, 0.2, 0.3, 0.3, 0.2, 0.1], [0, 0, 0, 1, 1, 1]),
        ([1e9 + 0.1, 1e9 + 0.2, 1e9 + 0.2, 1e9 + 0.1], [0, 0, 1, 1]),
        ([0.0, 0.0, 0.0], [0, 1, 2]),
    ],
)
def test_cluster_t_with_equal_clusters_knows_nothing(differences: list[float], clusters: list[int]) -> None:
    result = cluster_t_test(differences, clusters)
    assert result.difference == pytest.approx(sum(differences) / len(differences))
    assert math.isnan(result.p_value)
    assert math.isnan(result.low)
    assert math.isnan(result.high)


def test_cluster_means_that_hardly_differ_are_still_tested() -> None:
    assert cluster_t_test([0.1, 0.1 + 1e-6, 0.1 - 1e-6], [0, 1, 2]).p_value < 1e-9


@pytest.mark.parametrize(
    ("units", "least", "most", "few"), [(3, 0.6, 0.82, True), (9, 0.8, 0.94, True), (30, 0.88, 0.99, False)]
)
def test_the_bootstrap_over_a_few_clusters_says_that_it_covers_less(
    units: int, least: float, most: float, few: bool
) -> None:
    """Clusters that scatter, members that hardly do: the share of 95 % intervals that hold the true mean, 0."""
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(units), 2).tolist()
    covered = 0
    for study in range(100):
        values = np.repeat(generator.normal(0.0, 1.0, units), 2) + generator.normal(0.0, 0.01, 2 * units)
        interval = bootstrap_mean(values.tolist(), clusters=clusters, resamples=60, seed=study)
        covered += interval.low <= 0.0 <= interval.high
    assert least <= covered / 100 <= most
    assert str(interval).endswith("(too few: covers less than it says)") is few
    assert interval.few is few
    assert paired_difference([0.0] * 2 * units, values.tolist(), clusters=clusters, resamples=60).few is few


def test_so_does_that_of_a_few_values() -> None:
    assert str(bootstrap_mean([0.0, 1.0, 1.0])).endswith("(too few: covers less than it says)")
    assert str(bootstrap_mean([0.0, 1.0] * 5)).endswith("]")


def test_paired_difference() -> None:
    result = paired_difference([0, 0, 1, 1], [1, 0, 1, 1])
    assert result.difference == 0.25
    assert result.p_value == 1.0  # one changed question proves nothing
    assert result.low <= 0.25 <= result.high
    with pytest.raises(ValueError, match="differ in length"):
        paired_difference([1.0], [])


def test_pass_at_k_by_hand() -> None:
    # 1 - C(6,2)/C(8,2) = 1 - 15/28
    assert pass_at_k(2, 8, 2) == pytest.approx(13 / 28)
    assert pass_at_k(0, 8, 8) == 0.0
    assert pass_at_k(1, 8, 8) == 1.0
    with pytest.raises(ValueError, match="pass@9"):
        pass_at_k(1, 8, 9)
