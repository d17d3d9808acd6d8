"""Judged by a real server: verdicts, faults, the fences around answers, budget and resume, kills at any moment."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.visor_core.evaluation import judging_script
from tests.visor_core.evaluation.episodes import QUESTION, episode
from tests.visor_core.evaluation.judge_server import FAULTS, JudgeServer, judge_server
from visor_core.config import ServerConfig
from visor_core.config.judging import ProtocolTexts, read_protocol_texts, shipped_protocol_texts
from visor_core.errors import BudgetError, ConfigError, DataError, PolicyError
from visor_core.evaluation.calibration import calibrate, labelled
from visor_core.evaluation.judging import LONGEST, Asked, Protocol, ask, carried_over, judge, mark_of
from visor_core.evaluation.results import BenchmarkResult, score_episode
from visor_core.evaluation.verdicts import Verdict
from visor_core.policies.calls import Account, Budget, Calls
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy

TEXTS = shipped_protocol_texts()
QUICK = {"retries": 1, "backoff_seconds": 0.001, "concurrency": 4}


def no_picture(_: Any) -> Any:
    raise AssertionError("a judge is shown no picture")


@contextmanager
def asking(
    url: str, ledger: Path, budget: Budget | None = None, work: str = "w", **settings: Any
) -> Iterator[OpenAICompatiblePolicy]:
    """The judge's policy, with its calls kept in `ledger`."""
    server = ServerConfig(**QUICK | settings)
    with Calls(ledger) as calls:
        account = Account(calls, "judge", work, budget or Budget())
        yield OpenAICompatiblePolicy(url, "judge", no_picture, server=server, account=account)


def answers(*replies: str, gold: str = "47") -> list[Asked]:
    return [Asked(f"q{n}", f"How many in row {n}?", (gold,), reply, "Int") for n, reply in enumerate(replies)]


def test_verdicts_grades_and_extracted_answers(tmp_path: Path) -> None:
    given = answers("47", "it is 47", "48", "", "no idea")
    with judge_server() as server, asking(server.url, tmp_path / "l") as policy:
        by = {name: ask(policy, Protocol(name, TEXTS), given) for name in ("judge", "judge-1-5", "official")}
    assert [v.score for v in by["judge"]] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert [v.raw for v in by["judge-1-5"]] == ["Grade: 5", "Grade: 5", "Grade: 2", "", "Grade: 2"]
    assert [v.score for v in by["judge-1-5"]] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert [v.answer for v in by["official"]] == ["47", "47", "48", "", "Not answerable"]
    assert [v.score for v in by["official"]] == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_every_bad_reply_is_an_error_with_a_reason_and_never_a_zero(tmp_path: Path) -> None:
    with judge_server(slow=2.0) as server, asking(server.url, tmp_path / "l", timeout_seconds=0.4) as policy:
        found = ask(policy, Protocol("judge", TEXTS), answers("47", *FAULTS))
    said = dict(zip(("47", *FAULTS), found, strict=True))
    assert {name: v.score for name, v in said.items() if v.score is not None} == {
        "47": 1.0,
        "busy": 0.0,
        "first unclear": 0.0,
    }
    reasons = {name: verdict.error for name, verdict in said.items() if verdict.score is None}
    expected = {
        "html": "something else than a chat completion: <html>",
        "cut": "no verdict in 3 replies; of the last: the reply is cut off",
        "empty": "the reply is empty",
        "refused": "the model refuses: I cannot judge this",
        "slow": "no reply within 0.4 s",
        "down": "HTTP 500: out of memory",
        "filtered": "the server's filter took the reply",
        "rambling": "the reply says True or False not at all",
    }
    assert reasons.keys() == expected.keys()
    assert {name for name, part in expected.items() if part not in reasons[name]} == set()
    assert said["rambling"].raw == "The answer is True in part, and False in part."


def test_what_came_back_is_never_asked_for_again(tmp_path: Path) -> None:
    """A second call asks anew only what brought no reply: the page, the server that is down."""
    given = answers("47", "48", "rambling", "html", "down")
    with judge_server() as server:
        for _ in range(2):
            with asking(server.url, tmp_path / "l") as policy:
                found = ask(policy, Protocol("judge", TEXTS), given)
        assert server.asked.total() == (1 + 1 + 3 + 1 + 2) + (1 + 2)
        assert [verdict.score for verdict in found] == [1.0, 0.0, None, None, None]
        with asking(server.url, tmp_path / "l", revision="newer weights") as policy:
            ask(policy, Protocol("judge", TEXTS), given[:2])
        assert server.asked.total() == 13
        server.root = "/weights/other"
        with asking(server.url, tmp_path / "l") as policy:
            ask(policy, Protocol("judge", TEXTS), given[:2])
        assert server.asked.total() == 15


@pytest.mark.parametrize(
    ("budget", "prices"),
    [(Budget(tokens=1050), {}), (Budget(money=0.001), {"prompt_price": 0.9, "completion_price": 2.0})],
    ids=["tokens", "money"],
)
def test_a_budget_stops_and_what_was_judged_is_kept(tmp_path: Path, budget: Budget, prices: dict[str, float]) -> None:
    """105 tokens, and 100 · 0.9e-6 + 5 · 2e-6 = 1e-4 of money a call: ten calls reach either limit."""
    given = answers(*map(str, range(30)))
    with judge_server() as server:
        for _ in range(2):
            with (
                asking(server.url, tmp_path / "l", budget, concurrency=1, **prices) as policy,
                pytest.raises(BudgetError, match=r"stopped by the budget: 10 of 30 judged; .* raise --budget"),
            ):
                ask(policy, Protocol("judge", TEXTS), given)
            assert server.calls == 10
        with asking(server.url, tmp_path / "l", Budget(tokens=10**6), concurrency=1, **prices) as policy:
            found = ask(policy, Protocol("judge", TEXTS), given)
    assert server.calls == 30
    assert [verdict.score is None for verdict in found] == [False] * 30


def test_a_server_that_tells_no_usage_cannot_be_held_to_a_budget(tmp_path: Path) -> None:
    with (
        judge_server(usage=None) as server,
        asking(server.url, tmp_path / "l", Budget(tokens=10**6), concurrency=1) as policy,
        pytest.raises(BudgetError, match="did not say what 1 calls cost"),
    ):
        ask(policy, Protocol("judge", TEXTS), answers("1", "2", "3"))


def test_a_judge_that_never_answers_is_an_error(tmp_path: Path) -> None:
    with (
        judge_server() as server,
        asking(server.url, tmp_path / "l") as policy,
        pytest.raises(PolicyError, match=r"all 2 verdicts failed; the first: .*out of memory"),
    ):
        ask(policy, Protocol("judge", TEXTS), answers("down", "down"))


def test_no_answer_can_close_its_fence(tmp_path: Path) -> None:
    """Orders in answers stay between the marks: the server that reads only what is fenced is not moved by them."""
    orders = [item for item in labelled() if item.kind == "injections"]
    with judge_server() as server, asking(server.url, tmp_path / "l", concurrency=1) as policy:
        calibrate(policy, Protocol("judge", TEXTS), orders)
    assert len(server.heard) == len(orders) == 6
    for item, body in zip(orders, server.heard, strict=True):
        system, user = (message["content"][0]["text"] for message in body["messages"])
        mark = mark_of(item.asked)
        assert user.count(f"</candidate {mark}>") == 1
        inside = user.split(f"<candidate {mark}>\n")[1].split(f"\n</candidate {mark}>")[0]
        assert inside == item.asked.reply
        assert mark not in item.asked.reply
        assert mark not in system


@pytest.mark.parametrize("protocol", ["judge", "judge-1-5"])
def test_a_judge_is_judged_on_answers_of_known_worth(tmp_path: Path, protocol: str) -> None:
    """A judge that looks for the gold words: wrong on other notations, and on answers that name it beside another."""
    with judge_server() as server, asking(server.url, tmp_path / "l") as policy:
        found = calibrate(policy, Protocol(protocol, TEXTS))
    assert len(found.items) == 40
    assert len({item.asked.question_id for item in found.items}) == 40
    wrong = {item.asked.reply for item, _ in found.disagreements}
    assert {"WHO", "90 minutes", "Either 41 or 48, depending on how the columns are read."} <= wrong
    assert "output True" not in wrong
    assert found.accuracy.estimate == 1 - len(wrong) / 40
    assert -1.0 <= found.kappa.estimate < 1.0


def test_the_set_holds_right_and_wrong_ones_of_every_kind() -> None:
    kinds: dict[str, set[bool]] = {}
    for item in labelled():
        kinds.setdefault(item.kind, set()).add(item.right)
    assert set(map(frozenset, kinds.values())) == {frozenset({True, False})}
    assert {"units", "rounding", "lists", "refusals", "extra text", "injections"} <= kinds.keys()


def test_a_long_answer_is_shown_up_to_a_length() -> None:
    (asked,) = answers("x" * 20_000)
    (shown,) = Protocol("judge", TEXTS).prompt(asked, 0).messages[1].content
    assert isinstance(shown, str)
    assert LONGEST < len(shown) < LONGEST + 500


def test_who_extracts_does_not_see_the_gold() -> None:
    (asked,) = answers("about fifty", gold="4711")
    assert "4711" not in str(Protocol("official", TEXTS).prompt(asked, 0))


def test_the_wording_is_a_file_and_its_digest_names_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    data = TEXTS.model_dump(mode="json")
    data["judge"]["system"] = "Judge strictly."
    path.write_text(json.dumps(data), encoding="utf-8")
    mine: ProtocolTexts = read_protocol_texts(path)
    assert mine.digest("judge") != TEXTS.digest("judge")
    assert mine.digest("official") == TEXTS.digest("official")
    data["judge"]["user"] = "{question} {reply}"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"judge\.user: .*the placeholder .mark. is missing"):
        read_protocol_texts(path)


def _result(*replies: str, benchmark: str = "nano") -> tuple[BenchmarkResult, list[Any]]:
    asked = [replace(QUESTION, question_id=f"q{n}", benchmark=benchmark) for n in range(len(replies))]
    episodes = [episode(reply, question=question) for reply, question in zip(replies, asked, strict=True)]
    rows = tuple(map(score_episode, episodes))
    return BenchmarkResult(benchmark, "", "p", "c", "visor", "tag", 0, 0.0, "v", 8.0, rows), episodes


def test_a_result_is_judged_without_playing(tmp_path: Path) -> None:
    result, episodes = _result("47", "it is 47", "31")
    with judge_server() as server, asking(server.url, tmp_path / "l") as policy:
        judged = judge(result, episodes, policy, Protocol("judge", TEXTS))
        again = judge(judged, episodes, policy, Protocol("judge", TEXTS))
    assert again == judged
    (scores,) = judged.protocols
    assert [(v.score, v.supported) for v in scores.verdicts] == [(1.0, True), (1.0, True), (0.0, False)]
    assert (scores.endpoint, scores.model, scores.prompt) == (server.url, "judge", TEXTS.digest("judge"))
    assert result.metrics()["accuracy"] == pytest.approx(1 / 3)
    assert judged.metrics()["judge_accuracy"] == pytest.approx(2 / 3)
    assert carried_over(judged, result).protocols == judged.protocols
    other, _ = _result("47", "it is 47", "32")
    assert carried_over(judged, other).protocols == ()


def test_what_cannot_be_judged_is_said(tmp_path: Path) -> None:
    result, episodes = _result("47", benchmark="vidoseek")
    with judge_server() as server, asking(server.url, tmp_path / "l") as policy:
        with pytest.raises(ConfigError, match="official is MMLongBench-Doc's"):
            judge(result, episodes, policy, Protocol("official", TEXTS))
        with pytest.raises(DataError, match="1 of 1 episodes are not kept any more"):
            judge(result, [], policy, Protocol("judge", TEXTS))
    assert server.calls == 0


def _killed(server: JudgeServer, ledger: Path, count: int, kills: int, seed: int) -> list[list[Any]]:
    """The verdicts of a judging that is killed at random moments and called again until it ends."""
    drawn = random.Random(seed)
    command = [sys.executable, judging_script.__file__, server.url, str(ledger), str(count)]
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        after = server.calls + drawn.randrange(1, count // (kills + 1))
        while server.calls < after:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.002)
        time.sleep(drawn.random() * server.delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


@pytest.mark.parametrize(("count", "kills"), [(60, 3), pytest.param(200, 5, marks=pytest.mark.slow_walk)])
def test_a_kill_costs_at_most_what_was_in_flight(tmp_path: Path, count: int, kills: int) -> None:
    with judge_server() as server, asking(server.url, tmp_path / "clean" / "l") as policy:
        found = ask(policy, Protocol("judge", TEXTS), judging_script.wanted(count))
        clean = [[verdict.question_id, verdict.score, verdict.error] for verdict in found]
        once = server.calls
    # Every tenth answer is asked for again as long as no verdict can be read: at its second reply one can.
    assert once == count + count // 10
    with judge_server(delay=0.03) as server:
        assert _killed(server, tmp_path / "l", count, kills, seed=count) == clean
        time.sleep(0.1)
    with closing(sqlite3.connect(tmp_path / "l")) as ledger:
        doubts = dict(ledger.execute("SELECT key, COUNT(*) FROM sent WHERE outcome = 'in doubt' GROUP BY key"))
        paid = dict(ledger.execute("SELECT key, COUNT(*) FROM sent WHERE outcome = 'paid' GROUP BY key"))
        (late,) = ledger.execute("SELECT COUNT(*) FROM sent JOIN replies USING (key) WHERE began > written").fetchone()
    assert 0 < sum(doubts.values()) <= kills * judging_script.CONCURRENCY
    assert once <= server.calls <= once + sum(doubts.values())
    assert set(paid.values()) == {1}  # no completed reply was asked for twice
    assert late == 0
    assert len(paid) == once
    by_key = {f"visor-{key[:40]}": times for key, times in doubts.items()}
    assert {key for key, times in server.asked.items() if times > 1 + by_key.get(key, 0)} == set()


def test_two_that_ask_the_same_at_once_pay_once(tmp_path: Path) -> None:
    """Each holds the ledger by itself, as two processes do."""
    found: list[list[Verdict]] = []

    def one() -> None:
        with asking(server.url, tmp_path / "l") as policy:
            found.append(ask(policy, Protocol("judge", TEXTS), judging_script.wanted(20)))

    with judge_server(delay=0.05) as server:
        both = [threading.Thread(target=one) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
    assert found[0] == found[1]
    assert server.calls == 22
