"""Paired tests of two sides, by numbers worked by hand."""

import math

import pytest

from visor_core.evaluation.pairing import in_words, p_text, pair
from visor_core.evaluation.statistics import holm


def test_shares_of_one_seed_are_tested_by_mcnemar() -> None:
    """Five questions gained, none lost: 2 / 2^5."""
    found = pair([0, 0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1, 1], [0] * 7, yes_or_no=True)
    assert (found.wins, found.losses, found.ties) == (5, 0, 2)
    assert found.mcnemar == found.p_value == pytest.approx(2 / 32)
    assert found.test.difference == pytest.approx(5 / 7)
    assert found.test.few  # seven questions are too few for the bootstrap's interval


def test_means_of_one_seed_are_tested_by_sign_flips() -> None:
    """Of the eight sign patterns of 1, 1, 1 two reach the sum of 3."""
    found = pair([3, 3, 3], [4, 4, 4], [0, 0, 0])
    assert math.isnan(found.mcnemar)
    assert found.p_value == pytest.approx(2 / 8)


def test_seeds_are_clusters() -> None:
    """Mean differences .5 and 1 by seed: t = .75 / .25 = 3 with one degree of freedom."""
    found = pair([0, 1, 0, 0], [1, 1, 1, 1], [1, 1, 2, 2], yes_or_no=True)
    assert (found.test.clusters, found.test.difference) == (2, 0.75)
    assert math.isnan(found.mcnemar)
    assert found.p_value == pytest.approx(1 - 2 * math.atan(3) / math.pi)


def test_what_cannot_be_tested_says_so() -> None:
    assert in_words(pair([], [], [])) == "no question in common"
    assert "no scatter" in in_words(pair([0, 0], [1, 1], [1, 2]))
    assert (p_text(0.0004), p_text(0.0423), p_text(math.nan)) == ("< .001", "0.042", "–")


def test_holm_multiplies_by_the_tests_that_are_left() -> None:
    """.01 × 4, .02 × 3, .03 × 2 is less than the one before it, .6 × 1; what was not tested does not count."""
    assert holm([0.6, 0.01, math.nan, 0.03, 0.02])[:2] == pytest.approx([0.6, 0.04])
    assert holm([0.6, 0.01, math.nan, 0.03, 0.02])[3:] == pytest.approx([0.06, 0.06])
    assert math.isnan(holm([0.6, 0.01, math.nan, 0.03, 0.02])[2])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
