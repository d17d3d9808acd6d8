"""Episodes end to end on a small index: drivers, limits, strategies."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.visor_core.agent.small_index import SmallIndex, SmallPage, pages_of
from visor_core.agent.environment import Environment
from visor_core.agent.episode import rollouts_of, run_episode, run_reference, run_throughput
from visor_core.agent.strategies import STRATEGIES, preset
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig
from visor_core.errors import PolicyError, SearchIndexError
from visor_core.policies.base import Closing, Completion, Prompt, Sampling
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question

PAGES = pages_of("acme staff 47 people", "acme revenue 12 million", "borel staff 31 people")
QUESTION = Question("q1", "acme staff", ("47",))


def turns(*replies: str) -> Callable[[Prompt], str]:
    """A script that answers by the number of its call; only for one episode at a time."""
    remaining = iter(replies)
    return lambda prompt: next(remaining)


def test_search_crop_answer() -> None:
    env = Environment(SmallIndex(PAGES), AgentConfig())
    policy = ScriptedPolicy(
        turns(
            "<think>start</think><search>acme staff</search>",
            "<think>staff, small print</think><bbox>[10,10,300,200]</bbox>",
            "<think>staff is 47</think><verdict>keep</verdict><answer>47 [2]</answer>",
        )
    )
    (t,) = run_reference(env, policy, [QUESTION])
    assert t.outcome == "answered"
    assert t.answer == "47"
    assert t.well_formed
    assert [turn.observation.kind for turn in t.turns] == ["page", "crop", "final"]
    assert [(e.index, e.kind, e.observation, e.supersedes) for e in t.evidence] == [
        (1, "pre", "staff, small print", None),
        (2, "post", "staff is 47", 1),
    ]
    assert len(t.citations) == 1
    assert (t.citations[0].document, t.citations[0].page) == ("report.pdf", 1)
    assert t.citations[0].box == t.turns[1].observation.images[0].box
    assert t.turns[0].observation.ranking == ("report/00001", "report/00002", "report/00003")


def test_a_search_never_shows_a_page_twice_and_says_when_results_are_used_up() -> None:
    env = Environment(SmallIndex(PAGES), AgentConfig(max_turns=4))
    search = "<think>x</think><search>acme staff</search>"
    policy = ScriptedPolicy(lambda p: "47</answer>" if p.forced_prefix else search)
    (t,) = run_reference(env, policy, [QUESTION])
    shown = [i.page_id for turn in t.turns for i in turn.observation.images]
    assert shown == ["report/00001", "report/00002", "report/00003"]
    assert t.turns[3].observation.kind == "exhausted"
    assert "already" in t.turns[3].observation.message
    # The fifth completion is forced: it starts with <answer> and is read as one.
    assert t.turns[4].forced
    assert t.turns[4].prompt.forced_prefix == "<answer>"
    assert t.outcome == "forced"


def test_without_forcing_the_episode_ends_at_the_limit() -> None:
    env = Environment(SmallIndex(PAGES), AgentConfig(max_turns=2, force_answer=False))
    (t,) = run_reference(env, ScriptedPolicy(lambda p: "nothing useful"), [QUESTION])
    assert (t.outcome, len(t.turns), t.answer) == ("turn_limit", 2, "")
    assert t.turns[0].observation.fault == "no action"


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("prompts", ["full", "compact"])
def test_every_strategy_runs(name: str, prompts: str) -> None:
    config = preset(name, AgentConfig.model_validate({"prompts": prompts, "max_turns": 5}))
    env = Environment(SmallIndex(PAGES), config)
    script = ["<search>acme staff</search>", "<select>2</select>", "<bbox>[1,1,300,300]</bbox>", "<answer>47</answer>"]
    policy = ScriptedPolicy(
        lambda p: f"<think>x</think>{script[min(3, sum(m.role == 'assistant' for m in p.messages))]}"
    )
    (t,) = run_reference(env, policy, [QUESTION])
    if name != "vanilla" and config.window is None:
        assert len([m for m in t.turns[-1].prompt.messages if m.role == "assistant"]) == len(t.turns) - 1
    if name == "vanilla":
        assert len(t.turns[0].observation.images) == 3
        assert t.turns[0].forced
        assert (len(t.turns), t.outcome) == (2, "turn_limit")  # its own search and one completion, here no answer


def test_vanilla_is_one_completion_over_the_best_pages() -> None:
    env = Environment(SmallIndex(PAGES), preset("vanilla", AgentConfig(pages_per_search=2)))

    def asked(reply: str) -> tuple[Trajectory, list[Prompt]]:
        prompts: list[Prompt] = []

        def write(prompt: Prompt) -> str:
            prompts.append(prompt)
            return reply

        (t,) = run_reference(env, ScriptedPolicy(write), [QUESTION])
        return t, prompts

    answered, (prompt,) = asked("<think>it says so</think><answer>47</answer>")
    assert (answered.answer, answered.outcome, answered.well_formed) == ("47", "answered", True)
    assert len(prompt.images) == 2
    assert "<search>" not in str(prompt.messages[0].content)
    searching, prompts = asked("<think>more</think><search>borel staff</search>")
    assert (len(prompts), searching.outcome) == (1, "turn_limit")
    assert searching.turns[1].observation.fault == "no search"


def test_drivers_agree_and_keys_name_each_turn() -> None:
    keys: list[tuple[int, ...]] = []

    class Recording(ScriptedPolicy):
        def complete_batch(self, prompts: list[Prompt], samplings: list[Sampling]) -> list[Completion]:  # type: ignore[override]
            keys.extend(s.key for s in samplings)
            return super().complete_batch(prompts, samplings)

    def write(prompt: Prompt) -> str:
        if not prompt.images:
            return "<think>go</think><search>staff</search>"
        return "<think>47</think><answer>47 [1]</answer>"

    env = Environment(SmallIndex(PAGES), AgentConfig())
    questions = [QUESTION, Question("q2", "borel staff", ("31",)), QUESTION]
    kwargs = {"rollouts": 2, "seed": 5, "step": 3, "temperature": 1.0}
    reference = run_reference(env, Recording(write), questions, batch_size=4, **kwargs)  # type: ignore[arg-type]
    seen: list[str] = []
    throughput = asyncio.run(
        run_throughput(
            env,
            ScriptedPolicy(write),
            questions,
            concurrency=2,
            on_finished=lambda t: seen.append(t.trajectory_id),
            **kwargs,  # type: ignore[arg-type]
        )
    )
    assert [t.trajectory_id for t in reference] == [t.trajectory_id for t in throughput]
    assert len(set(seen)) == 6
    assert len(set(keys)) == 12
    assert {k[:2] for k in keys} == {(5, 3)}
    assert [t.group_id for t in reference] == ["5-3-q1"] * 2 + ["5-3-q2"] * 2 + ["5-3-q1#1"] * 2
    assert [t.turns[-1].prompt for t in reference] == [t.turns[-1].prompt for t in throughput]


def test_a_failing_policy_costs_its_episode_only() -> None:
    class Failing(ScriptedPolicy):
        async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
            if "borel" in str(prompt.messages[1].content):
                raise PolicyError("endpoint gave up")
            return await super().complete(prompt, sampling)

    env = Environment(SmallIndex(PAGES), AgentConfig())
    policy = Failing(lambda p: "<think>x</think><answer>47</answer>")
    good, bad = asyncio.run(run_throughput(env, policy, [QUESTION, Question("q2", "borel", ())]))
    assert (good.outcome, bad.outcome, bad.error) == ("answered", "error", "endpoint gave up")
    with pytest.raises(PolicyError, match="all 1 episodes failed"):
        asyncio.run(run_throughput(env, policy, [Question("q2", "borel", ())]))


def test_first_search_can_be_the_environments_own() -> None:
    index = SmallIndex(PAGES)
    env = Environment(index, AgentConfig(first_search="question"))
    (t,) = run_reference(env, ScriptedPolicy(lambda p: "<think>47</think><answer>47</answer>"), [QUESTION])
    assert index.queries == ["acme staff"]
    assert t.turns[0].forced
    assert t.turns[0].completion.token_ids == ()
    assert t.outcome == "answered"
    assert t.well_formed


def test_no_turn_waits_for_the_slowest_and_concurrency_is_kept() -> None:
    running = most = 0
    finished: list[str] = []

    class Slow(ScriptedPolicy):
        async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
            nonlocal running, most
            running += 1
            most = max(most, running)
            slow = "slow" in str(prompt.messages[1].content)
            await asyncio.sleep(0.2 if slow else 0.001)
            running -= 1
            return await super().complete(prompt, sampling)

    def write(prompt: Prompt) -> str:
        if len(prompt.images) < 2:
            return "<think>x</think><search>staff</search>"
        return "<think>x</think><answer>47</answer>"

    env = Environment(SmallIndex(PAGES), AgentConfig())
    questions = [Question("slow", "slow staff", ()), *(Question(f"q{i}", "staff", ()) for i in range(9))]
    trajectories = asyncio.run(
        run_throughput(
            env, Slow(write), questions, concurrency=3, on_finished=lambda t: finished.append(t.question.question_id)
        )
    )
    assert [t.question.question_id for t in trajectories] == [q.question_id for q in questions]
    assert finished[-1] == "slow"  # nine episodes passed it by
    assert most == 3


def test_an_index_that_fails_ends_the_run_with_its_own_error() -> None:
    class Broken(SmallIndex):
        def search(
            self, query: str, *, k: int = 10, mode: str = "hybrid", partition: str = "", where: Sequence[str] = ()
        ) -> list[SmallPage]:
            raise SearchIndexError("the corpus was removed")

    env = Environment(Broken(PAGES), AgentConfig())
    policy = ScriptedPolicy(lambda p: "<think>x</think><search>staff</search>")
    with pytest.raises(SearchIndexError, match="the corpus was removed"):
        asyncio.run(run_throughput(env, policy, [QUESTION]))
    with pytest.raises(SearchIndexError, match="the corpus was removed"):
        run_reference(env, policy, [QUESTION])


class Remembering(Closing):
    """Says its lines in turn, the last one for ever, and remembers how it was asked."""

    name, checkpoint = "remembering", ""

    def __init__(self, *replies: Completion) -> None:
        self.replies = list(replies)
        self.samplings: list[Sampling] = []

    def identity(self) -> dict[str, Any]:
        return {"engine": self.name}

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        self.samplings.append(sampling)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.mark.parametrize(
    ("strategy", "stops"),
    [
        ("visor", ("</search>", "</bbox>", "</answer>")),
        ("unidoc", ("</search>", "</select>", "</bbox>", "</answer>")),
        ("react", ("</search>", "</answer>")),
        ("vanilla", ("</answer>",)),
    ],
)
def test_a_reply_is_asked_to_end_with_an_action_of_its_strategy(strategy: str, stops: tuple[str, ...]) -> None:
    policy = Remembering(Completion("<think>known</think><answer>47</answer>"))
    asyncio.run(run_throughput(Environment(SmallIndex(PAGES), preset(strategy, AgentConfig())), policy, [QUESTION]))
    assert [sampling.stop for sampling in policy.samplings] == [stops]


def test_three_empty_replies_end_an_episode_as_failed() -> None:
    search = Completion("<think>start</think><search>acme staff</search>")
    filtered = Completion("", finish_reason="content_filter")
    env = Environment(SmallIndex(PAGES), AgentConfig())
    failing = Remembering(search, filtered, search, *[filtered] * 3)
    other = Question("q2", "borel staff", ("31",))

    async def both() -> list[Trajectory]:
        good = Remembering(Completion("<think>known</think><answer>31</answer>"))
        return [
            *await run_throughput(env, good, [other]),
            await run_episode(env, failing, rollouts_of([QUESTION])[0]),
        ]

    answered, failed = asyncio.run(both())
    assert answered.outcome == "answered"
    assert (failed.outcome, len(failed.turns), failed.answer) == ("error", 6, "")
    assert failed.error == ("3 replies in a row said nothing; the last: an empty reply (finish reason content_filter)")
    assert failed.turns[-1].completion.finish_reason == "content_filter"


def test_replies_that_only_call_tools_end_an_episode_as_failed() -> None:
    call = Completion("", finish_reason="tool_calls", metadata={"tool_calls": "search"})
    episode = asyncio.run(
        run_episode(Environment(SmallIndex(PAGES), AgentConfig()), Remembering(*[call] * 3), rollouts_of([QUESTION])[0])
    )
    assert episode.outcome == "error"
    assert "only calls of tools that were not offered: search" in episode.error


def test_a_policy_that_chose_to_write_nothing_is_measured_not_failed() -> None:
    env = Environment(SmallIndex(PAGES), AgentConfig(max_turns=4, force_answer=False))
    silent = Completion("", token_ids=(3,), logprobs=(-0.1,))
    episode = asyncio.run(run_episode(env, Remembering(*[silent] * 4), rollouts_of([QUESTION])[0]))
    assert (episode.outcome, len(episode.turns)) == ("turn_limit", 4)
