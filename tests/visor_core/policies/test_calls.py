"""The ledger of calls: kept by content, paid once, in doubt after a kill, counted by endpoint and purpose, limited."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from visor_core.errors import BudgetError, ConfigError, DataError
from visor_core.policies.calls import Budget, Call, Calls
from visor_core.policies.spending import Spent

NONE = Budget()
BODY = {"model": "m", "messages": [{"role": "user", "content": "?"}], "temperature": 0.0}
KILLED = """
import os, sys
from pathlib import Path
from visor_core.policies.calls import Budget, Call, Calls
call = Call.of("http://server/v1", "m", "", {}, {"n": 1}, (0,))
Calls(Path(sys.argv[1])).begin(call, "judge", "w", Budget())
os.kill(os.getpid(), 9)
"""


def call(number: int = 1) -> Call:
    return Call.of("http://server/v1", "m", "", {}, {"n": number}, (0,))


def sent(calls: Calls, asked: Call, purpose: str = "judge", work: str = "w", budget: Budget = NONE) -> int:
    """The number of a call that is to be sent."""
    entry = calls.begin(asked, purpose, work, budget)
    assert isinstance(entry, int)
    return entry


def test_a_call_is_its_whole_content() -> None:
    given = ("http://a/v1", "m", "r", {"root": "/w"}, BODY, (0, 0))
    others = [
        ("http://b/v1", *given[1:]),
        (given[0], "n", *given[2:]),
        (*given[:2], "s", *given[3:]),
        (*given[:3], {"root": "/x"}, *given[4:]),
        (*given[:4], BODY | {"temperature": 0.5}, given[5]),
        (*given[:5], (0, 1)),
    ]
    keys = {Call.of(*content).key for content in [given, *others]}  # type: ignore[arg-type]
    assert len(keys) == 7
    assert Call.of(*given).key == Call.of(*given[:4], dict(reversed(BODY.items())), (0, 0)).key  # type: ignore[arg-type]


def test_a_reply_is_kept_for_whoever_asks_next(tmp_path: Path) -> None:
    with Calls(tmp_path / "l") as calls:
        entry = sent(calls, call())
        assert calls.begin(call(), "judge", "w", NONE) is None  # it is in flight
        calls.complete(call(), entry, "the reply", (10, 2), 0.5, keep=True)
        assert calls.begin(call(), "judge", "w", NONE) == "the reply"
    with Calls(tmp_path / "l") as other:
        assert other.kept(call()) == "the reply"
        assert other.kept(call(2)) is None
        assert other.totals() == [Spent("http://server/v1", "m", "judge", 1, 0, 0, 0, 0, 10, 2, 0.5, 0, 0)]


def test_what_another_has_in_flight_is_waited_for_as_long_as_it_lives(tmp_path: Path) -> None:
    with Calls(tmp_path / "l") as one, Calls(tmp_path / "l") as other:
        entry = sent(one, call())
        assert other.begin(call(), "judge", "w", NONE) is None
        one.fail(entry, "failed", "HTTP 500")
        assert isinstance(other.begin(call(), "judge", "w", NONE), int)


def test_what_a_killed_process_had_in_flight_may_have_been_paid_twice(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "l")], check=False)
    with Calls(tmp_path / "l") as calls:
        (spent,) = calls.totals()
        assert (spent.paid, spent.in_doubt, spent.in_flight, spent.most_cost) == (0, 1, 0, 0.0)
        calls.complete(call(), sent(calls, call()), "r", (10, 2), 0.5, keep=True)
        (spent,) = calls.totals()
        assert (spent.paid, spent.in_doubt, spent.cost, spent.most_cost, spent.most_tokens) == (1, 1, 0.5, 1.0, 24)


def test_a_repeated_call_goes_under_the_same_key() -> None:
    assert call().headers == call().headers != call(2).headers


def test_an_ended_command_leaves_nothing_in_flight(tmp_path: Path) -> None:
    with Calls(tmp_path / "l") as calls:
        sent(calls, call())
    with Calls(tmp_path / "l") as calls:
        assert [(spent.in_doubt, spent.in_flight) for spent in calls.totals()] == [(1, 0)]
        assert len(list((tmp_path / "owners").iterdir())) == 1
    assert list((tmp_path / "owners").iterdir()) == []


def test_what_is_not_kept_is_counted_all_the_same(tmp_path: Path) -> None:
    with Calls(tmp_path / "l") as calls:
        for _ in range(2):
            entry = calls.begin(call(), "eval", "w", NONE, reuse=False)
            assert isinstance(entry, int)
            calls.complete(call(), entry, "r", (10, 2), 0.5, keep=False)
        assert [(spent.purpose, spent.paid, spent.cost) for spent in calls.totals()] == [("eval", 2, 1.0)]


def test_spending_is_told_by_purpose_and_by_piece_of_work(tmp_path: Path) -> None:
    with Calls(tmp_path / "l") as calls:
        for number, (purpose, work) in enumerate([("judge", "a"), ("judge", "b"), ("teacher", "c")]):
            calls.complete(call(number), sent(calls, call(number), purpose, work), "r", (10, 0), 1.0, keep=True)
        assert [(spent.purpose, spent.cost) for spent in calls.totals()] == [("judge", 2.0), ("teacher", 1.0)]
        assert [spent.cost for spent in calls.totals("a", "judge")] == [1.0]


@pytest.mark.parametrize("budget", [Budget(tokens=20), Budget(money=1.0), Budget(tokens=20, money=100.0)])
def test_a_budget_is_that_of_a_piece_of_work_over_all_starts(tmp_path: Path, budget: Budget) -> None:
    for number in (1, 2):
        with Calls(tmp_path / "l") as calls:
            entry = sent(calls, call(number), work="a", budget=budget)
            calls.complete(call(number), entry, "r", (8, 2), 0.5, keep=True)
    with Calls(tmp_path / "l") as calls:
        with pytest.raises(BudgetError, match="allowed"):
            calls.begin(call(3), "judge", "a", budget)
        assert calls.begin(call(1), "judge", "a", budget) == "r"  # what is kept costs nothing
        assert isinstance(calls.begin(call(3), "judge", "b", budget), int)


def test_a_call_in_doubt_counts_against_the_budget(tmp_path: Path) -> None:
    with Calls(tmp_path / "l") as calls:
        calls.fail(sent(calls, call()), "in doubt", "no reply within 1 s")
        calls.complete(call(), sent(calls, call()), "r", (8, 2), 0.5, keep=True)
        with pytest.raises(BudgetError, match=r"1 is spent of the 0\.9 allowed"):
            calls.begin(call(2), "judge", "w", Budget(money=0.9))


@pytest.mark.parametrize("budget", [Budget(tokens=25), Budget(money=1.25)])
def test_calls_at_once_go_over_a_budget_by_one_at_most(tmp_path: Path, budget: Budget) -> None:
    with Calls(tmp_path / "l") as calls:
        first = sent(calls, call(1), work="a", budget=budget)
        assert calls.begin(call(2), "judge", "a", budget) is None, "the first goes alone: nothing is known of its cost"
        assert isinstance(calls.begin(call(9), "judge", "b", budget), int), "other work has its own budget"
        calls.complete(call(1), first, "r", (8, 2), 0.5, keep=True)
        second = sent(calls, call(2), work="a", budget=budget)
        third = sent(calls, call(3), work="a", budget=budget)
        assert calls.begin(call(4), "judge", "a", budget) is None, "10 are spent, and 20 may be on their way"
        calls.complete(call(2), second, "r", (8, 2), 0.5, keep=True)
        assert calls.begin(call(4), "judge", "a", budget) is None
        calls.complete(call(3), third, "r", (8, 2), 0.5, keep=True)
        with pytest.raises(BudgetError, match=r"allowed \(by "):
            calls.begin(call(4), "judge", "a", budget)


def test_a_budget_is_money_or_tokens() -> None:
    assert Budget.parse(["2.50", "200000tokens"]) == Budget(200_000, 2.5)
    assert Budget.parse(["1000 tokens"]) == replace(NONE, tokens=1000)
    assert not Budget.parse([])
    for wrong in ("-1", "2,50", "tokens", "1e3", "5 EUR"):
        with pytest.raises(ConfigError, match="neither money"):
            Budget.parse([wrong])


def test_a_damaged_ledger_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("no database " * 100, encoding="utf-8")
    with pytest.raises(DataError, match=r"the ledger of calls .*l cannot be used"):
        Calls(tmp_path / "l")
    assert list((tmp_path / "owners").iterdir()) == []
