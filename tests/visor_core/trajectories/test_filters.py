"""Filters: first reason counted, balance over lengths."""

from dataclasses import replace

from tests.visor_core.trajectories.episodes import episodes
from visor_core.trajectories.filters import balance, keep_good, reason_against


def test_each_reason() -> None:
    (good,) = episodes(1)
    assert reason_against(good) == ""
    assert reason_against(replace(good, answer="48")) == "wrong answer"
    assert reason_against(replace(good, outcome="turn_limit")) == "turn_limit"
    assert reason_against(good, max_steps=3) == "too long"
    assert reason_against(good, min_steps=5) == "too short"
    unseen = replace(good.question, gold_pages=("report/00009",))
    assert reason_against(replace(good, question=unseen)) == "gold page not in the ledger"
    broken = replace(good.turns[0], action=replace(good.turns[0].action, well_formed=False))
    assert reason_against(replace(good, turns=(broken, *good.turns[1:]))) == "malformed"


def test_rejections_are_counted() -> None:
    good, other = episodes(2)
    filtered = keep_good([good, replace(other, answer="x"), replace(other, answer="y")])
    assert filtered.kept == (good,)
    assert filtered.rejected == {"wrong answer": 2}


def test_balance_takes_lengths_in_turn() -> None:
    many = episodes(6)
    short = [replace(t, trajectory_id=f"s{i}", turns=t.turns[:2]) for i, t in enumerate(many[:2])]
    chosen = balance([*many, *short], 5)
    assert sorted(len(t.turns) for t in chosen) == [2, 2, 4, 4, 4]
    assert balance([*short, *many], 5) == chosen
    assert len(balance(many, 100)) == 6
