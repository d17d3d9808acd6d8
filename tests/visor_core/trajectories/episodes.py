"""Real episodes on the small index, for tests of the store, replay, viewer and traces."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.visor_core.agent.small_index import SmallIndex, pages_of
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig
from visor_core.policies.base import Completion, Prompt, Sampling
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question

INDEX = SmallIndex(pages_of("acme staff 47 people", "acme revenue 12 million", "borel staff 31 people"))


class CountingPolicy(ScriptedPolicy):
    """A script whose replies carry made-up ids and log-probabilities."""

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        replies = super().complete_batch(prompts, samplings)
        return [
            Completion(
                r.text, tuple(range(len(r.text.split()))), tuple(-0.1 / (i + 3) for i in range(len(r.text.split()))),
                (1, 2, 3), 3, 1, 0, "stop", 0.25, 0.001, {"engine": "scripted"},
            )
            for r in replies
        ]  # fmt: skip


def write(prompt: Prompt) -> str:
    """Search, crop, reject the crop, search again, answer."""
    shown = len(prompt.images)
    if prompt.forced_prefix:
        return "47</answer>"
    script = [
        "<think>looking for staff</think><search>acme staff</search>",
        "<think>a page about <b>acme</b> & staff</think><bbox>[10, 10, 300, 200]</bbox>",
        "<think>unreadable</think><verdict>reject</verdict><search>staff</search>",
        "<think>borel has 31</think><verdict>keep</verdict><answer>47 [1]</answer>",
    ]
    turn = sum(m.role == "assistant" for m in prompt.messages)
    return script[min(turn, 3)] if turn < 2 or shown else script[0]


def episodes(n: int = 3, **options: object) -> list[Trajectory]:
    """`n` finished episodes."""
    config = AgentConfig.model_validate({"window": 4, **options})
    questions = [Question(f"q{i}", "acme staff", ("47",), gold_pages=("report/00001",)) for i in range(n)]
    return run_reference(
        Environment(INDEX, config), CountingPolicy(write), questions, seed=random.Random(0).randint(1, 9)
    )
