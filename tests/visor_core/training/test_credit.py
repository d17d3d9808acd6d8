"""Credit against numbers worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visor_core.training.credit import (
    CreditMode,
    CreditRollout,
    CreditTurn,
    advantages,
    assign,
    by_group,
    informative_groups,
    section_credit,
    token_weights,
    trajectory_credit,
    turn_credit,
)

ROOT_HALF = 0.75 / math.sqrt(2)
"""Standard deviation (ddof 1) of the rewards 1 and 0.25."""


def rollout(reward: float, *turns: CreditTurn, group: str = "g", **rewards: float) -> CreditRollout:
    return CreditRollout(group, reward, turns, rewards)


def test_group_advantage_by_hand() -> None:
    # mean 0.5, deviations 0.5, -0.5, 0, 0; ddof 1: sqrt(0.5 / 3) = 0.408248
    found = advantages([1.0, 0.0, 0.5, 0.5])
    assert found == pytest.approx([0.5 / 0.408348290, -0.5 / 0.408348290, 0.0, 0.0], abs=1e-7)
    assert advantages([1.0, 0.0], scale=False) == [0.5, -0.5]


def test_leave_one_out_by_hand() -> None:
    assert advantages([1.0, 0.0, 0.5], "leave_one_out", scale=False) == pytest.approx([0.75, -0.75, 0.0])


def test_a_single_rollout_and_equal_rewards_teach_nothing() -> None:
    assert advantages([3.0]) == [0.0]
    assert advantages([0.5, 0.5]) == [0.0, 0.0]
    token = CreditTurn(1)
    rollouts = [rollout(reward, token, group=group) for reward, group in ((1, "a"), (1, "a"), (1, "b"), (0, "b"))]
    assert informative_groups(rollouts) == {"b"}


def test_equal_totals_teach_by_their_dense_rewards() -> None:
    searched = CreditTurn(1, "search", 1.0, ("search",)), CreditTurn(1, "search", 0.0, ("search",))
    rollouts = [
        *(rollout(1.0, turn, group="turns") for turn in searched),
        rollout(1.0, searched[0], group="sections", pages_found=1.0),
        rollout(1.0, searched[0], group="sections", pages_found=0.0),
        # no token of the section that the differing reward judges
        rollout(1.0, searched[0], group="nothing", crop=1.0),
        rollout(1.0, searched[0], group="nothing", crop=0.0),
    ]
    assert informative_groups(rollouts) == set()
    assert informative_groups(rollouts, "turn") == {"turns"}
    assert informative_groups(rollouts, "turn", turn_weight=0.0) == set()
    assert informative_groups(rollouts, "section") == {"sections"}


@pytest.mark.parametrize("mode", ["trajectory", "turn", "section"])
def test_imitation_adds_to_every_token_of_perfect_rollouts_and_keeps_their_groups(mode: CreditMode) -> None:
    searched, answered = CreditTurn(2, "search", 1.0, ("search",) * 2), CreditTurn(1, "answer", 1.0, ("answer",))
    mixed = [rollout(1.0, searched, answered, group="mixed"), rollout(0.0, searched, answered, group="mixed")]
    alike = [rollout(reward, answered, group=group) for group, reward in (("best", 1.0), ("worst", 0.0)) for _ in "ab"]
    rollouts = [replace(r, perfect=r.reward == 1.0) for r in (*mixed, *alike)]
    without, added = (
        [[a for tokens in turns for a in tokens] for turns in assign(rollouts, mode, imitation=weight)]
        for weight in (0.0, 0.7)
    )
    more = [[b - a for a, b in zip(*pair, strict=True)] for pair in zip(without, added, strict=True)]
    assert more == [pytest.approx([0.7] * 3), [0.0] * 3, *[pytest.approx([0.7])] * 2, [0.0], [0.0]]
    assert informative_groups(rollouts, mode, imitation=0.7) == {"mixed", "best"}
    assert "best" not in informative_groups(rollouts, mode)


def test_groups_do_not_mix() -> None:
    found = by_group(["a", "b", "a", "b"], [1.0, 10.0, 0.0, 20.0], scale=False)
    assert found == [0.5, -5.0, -0.5, 5.0]


def test_trajectory_credit_shares_one_advantage() -> None:
    rollouts = [rollout(1.0, CreditTurn(2), CreditTurn(3)), rollout(0.25, CreditTurn(1))]
    a = 0.375 / (ROOT_HALF + 1e-4)
    first, second = trajectory_credit(rollouts)
    assert [len(t) for t in first] == [2, 3]
    assert first[1] == pytest.approx([a] * 3)
    assert second[0] == pytest.approx([-a])


def test_turn_credit_normalises_over_turns_of_the_same_action() -> None:
    rollouts = [
        rollout(1.0, CreditTurn(1, "search", 1.0), CreditTurn(2, "answer", 1.0)),
        rollout(1.0, CreditTurn(1, "search", 0.0), CreditTurn(1, "search", 1.0), CreditTurn(1, "answer", 1.0)),
    ]
    # shared advantages are 0; searches 1, 0, 1: mean 2/3, std sqrt(1/3); answers are all alike
    std = math.sqrt(1 / 3) + 1e-4
    first, second = turn_credit(rollouts, turn_weight=0.5)
    assert first[0] == pytest.approx([0.5 * (1 / 3) / std])
    assert second[0] == pytest.approx([0.5 * (-2 / 3) / std])
    assert first[1] == [0.0, 0.0]
    assert second[2] == [0.0]


def test_an_action_that_always_pays_is_not_reinforced() -> None:
    rollouts = [rollout(0.0, CreditTurn(1, "search", 1.0)), rollout(0.0, CreditTurn(1, "search", 1.0))]
    assert turn_credit(rollouts) == [[[0.0]], [[0.0]]]


def test_section_credit_uses_each_sections_own_reward() -> None:
    rollouts = [
        rollout(1.0, CreditTurn(3, sections=("think", "answer", "other")), answer=1.0, evidence_facts=0.0),
        rollout(0.0, CreditTurn(2, sections=("search", "answer")), answer=0.0, evidence_facts=1.0),
    ]
    unit = 0.5 / (math.sqrt(0.5) + 1e-4)
    first, second = section_credit(rollouts)
    assert first[0] == pytest.approx([-unit, unit, unit])
    # the searches found the same: no advantage
    assert second[0] == pytest.approx([0.0, -unit])


def test_weights_by_hand() -> None:
    rollouts = [rollout(1.0, CreditTurn(2), CreditTurn(3)), rollout(0.0, CreditTurn(15))]
    # L = 20, N = 2
    assert token_weights(rollouts, "rollout") == [20 / (2 * 5), 20 / (2 * 15)]
    assert token_weights(rollouts, "token") == [1.0, 1.0]
    assert token_weights(rollouts, "constant", 40) == [20 / 80, 20 / 80]


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=8))
def test_every_rollout_weighs_the_same(lengths: list[list[int]]) -> None:
    rollouts = [rollout(0.0, *(CreditTurn(n) for n in turns)) for turns in lengths]
    totals = [w * r.tokens for w, r in zip(token_weights(rollouts), rollouts, strict=True)]
    assert totals == pytest.approx([totals[0]] * len(totals))
    assert sum(totals) == pytest.approx(sum(r.tokens for r in rollouts))


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9))
def test_advantages_sum_to_zero(rewards: list[float]) -> None:
    assert sum(advantages(rewards)) == pytest.approx(0.0, abs=1e-6)
    assert sum(advantages(rewards, "leave_one_out")) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("mode", ["trajectory", "turn", "section"])
def test_every_mode_covers_every_token(mode: str) -> None:
    rollouts = [
        rollout(1.0, CreditTurn(2, "search", 1.0), CreditTurn(3, "answer", 0.0)),
        rollout(0.0, CreditTurn(4, "answer", 1.0)),
    ]
    found = assign(rollouts, mode)  # type: ignore[arg-type]
    assert [[len(t) for t in r] for r in found] == [[2, 3], [4]]
