"""Results made by hand, for the tests of comparisons and of the pages that show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.visor_core.evaluation.episodes import PAGE, episode
from visor_core.agent.trajectory import Trajectory
from visor_core.evaluation.results import BenchmarkResult, score_episode
from visor_core.questions import Fact, Question

HOSTILE = "</script><script>window.hostile=1</script><img src=x onerror=window.hostile=2>|`\"'&"


def asked(name: str, gold: str = "47", text: str = "") -> Question:
    """A question whose answer stands on one page; its text is its name where nothing else is given."""
    fact = replace(FACT, value=gold)
    return Question(name, text or name, (gold,), "nano", "development", gold_pages=(PAGE,), gold_facts=(fact,))


FACT = Fact("acme staff", "q3", "47", PAGE, episode("47").question.gold_facts[0].box)


def played(
    answers: Mapping[str, str], *, policy: str = "p", texts: Mapping[str, str] | None = None, gold: str = "47"
) -> list[Trajectory]:
    """An episode a question, with the answers given by its id; a right one has all its evidence."""
    found = []
    for name, answer in answers.items():
        question = asked(name, gold, (texts or {}).get(name, ""))
        one = episode(answer, question=question, observation=f"acme staff q3 {answer}")
        found.append(replace(one, trajectory_id=f"{policy}-{len(found)}", policy=policy))
    return found


def result(
    answers: Mapping[str, str],
    *,
    policy: str = "p",
    texts: Mapping[str, str] | None = None,
    gold: str = "47",
    **of: Any,
) -> BenchmarkResult:
    """The result of such episodes; `of` are further fields of it."""
    episodes = played(answers, policy=policy, texts=texts, gold=gold)
    identity = {
        "questions": [[e.question.question_id, e.question.question, ""] for e in episodes],
        "policy": {"weights": policy},
        "environment": {"agent": {"window": 2, "strategy": "visor"}, "index": {"mode": "text"}},
    }
    known = {
        "benchmark": "nano", "split": "development", "policy": policy, "checkpoint": "c", "strategy": "visor",
        "index_tag": "tag-1", "seed": 0, "temperature": 0.0, "questions_version": "v", "wall_seconds": 1.0,
        "corpus": "nano-development", "identity": identity, "scoring": "s",
    } | of  # fmt: skip
    return BenchmarkResult(episodes=tuple(map(score_episode, episodes)), **known)
