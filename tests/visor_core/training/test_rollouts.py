"""From trajectories to weighted rows: which questions are asked, what a group is worth, which gate rewards pass."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_model import build_processor
from tests.visor_core.training.bandit import bandit_config, build_trainer
from tests.visor_core.training.episodes import episode, question, turn
from tests.visor_core.training.played import play
from visor_core.agent.episode import OnFinished
from visor_core.agent.trajectory import Trajectory, Turn
from visor_core.errors import DataError, PolicyError
from visor_core.policies.base import Completion
from visor_core.questions import Question
from visor_core.training import turn_trainer
from visor_core.training.credit import CreditMode
from visor_core.training.rewards import RewardContext
from visor_core.training.rollouts import Collected, Collector, draw, figures, reserve, summary, weigh
from visor_core.training.rows import rows_of

QUESTIONS = [question(question_id=f"q{i}") for i in range(8)]


def names(questions: Sequence[Question]) -> list[str]:
    return [q.question_id for q in questions]


class Scripted:
    """Two rollouts a question, built by `make` from the question and the rollout's number; remembers what was asked."""

    def __init__(self, make: Any) -> None:
        self.make = make
        self.asked: list[list[str]] = []

    def refresh(self) -> None:
        """Nothing to copy."""

    def __call__(self, step: int, questions: Sequence[Question], on_finished: OnFinished) -> list[Trajectory]:
        self.asked.append(names(questions))
        finished = []
        for q, number in itertools.product(questions, range(2)):
            group = f"{step}-{q.question_id}"
            finished.append(replace(self.make(q, number), group_id=group, trajectory_id=f"{group}-{number}"))
            on_finished(finished[-1])
        return finished


def sampled(written: Turn, tokens: int = 1) -> Turn:
    """The turn with token ids, as if an engine had sampled it."""
    completion = Completion(written.completion.text, (20,) * tokens, (-1.0,) * tokens, (1, 2))
    return replace(written, completion=completion)


def answers(right: set[str]) -> Any:
    """Episodes of one answer; in the groups of `right` the first is right."""

    def make(asked: Question, number: int) -> Trajectory:
        text = "47" if number == 0 and asked.question_id in right else "48"
        return episode(asked, [sampled(turn(1, "answer", text=text))], answer=text)

    return make


def collector(source: Scripted, questions: Sequence[Question] = QUESTIONS, **changes: Any) -> Collector:
    shares = {key: changes.pop(key) for key in ("process", "processes") if key in changes}
    return Collector(questions, source, bandit_config(**{"group_size": 2, **changes}), 0, RewardContext(), **shares)


def test_refills_ask_what_is_missing_and_every_skipped_group_is_counted() -> None:
    first = draw(QUESTIONS, 4, 0, 0)
    spare = reserve(QUESTIONS, first, 0, 0)
    assert {q.question_id for q in (*first, *spare)} == {q.question_id for q in QUESTIONS}
    # Two of the four teach; of the two asked in their place one does; of the one asked in its place none.
    source = Scripted(answers({first[0].question_id, first[2].question_id, spare[1].question_id}))
    found = collector(source, dynamic_sampling="refill", refill_attempts=2).collect(0)
    assert source.asked == [names(first), names(spare[:2]), names(spare[2:3])]
    assert found.skipped_groups == 2 + 1 + 1
    assert len(found.trajectories) == 2 * 7
    assert len(found.rollouts) == 2 * 3
    skipping = Scripted(answers({first[0].question_id}))
    assert collector(skipping, dynamic_sampling="skip").collect(0).skipped_groups == 3
    assert skipping.asked == [names(first)]


def test_imitation_keeps_and_marks_the_groups_that_earned_everything() -> None:
    first = draw(QUESTIONS, 4, 0, 0)
    best, mixed = first[1].question_id, first[2].question_id

    def make(asked: Question, number: int) -> Trajectory:
        right = asked.question_id == best or (asked.question_id == mixed and number == 0)
        return answers({asked.question_id} if right else set())(asked, 0)  # type: ignore[no-any-return]

    found = collector(Scripted(make), imitation=1.0).collect(0)
    assert [(r.credit.group, r.credit.perfect) for r in found.rollouts] == [
        (f"0-{best}", True), (f"0-{best}", True), (f"0-{mixed}", True), (f"0-{mixed}", False)
    ]  # fmt: skip
    assert found.skipped_groups == 2
    trained = weigh(found.rollouts, bandit_config(imitation=1.0))
    assert [w.advantages for w in trained[:2]] == [(1.0,), (1.0,)]
    assert [r.credit.group for r in collector(Scripted(make)).collect(0).rollouts] == [f"0-{mixed}"] * 2


def test_an_episode_is_handed_on_scored_the_moment_it_has_finished() -> None:
    """The engine fails in the second group: what had finished by then is not lost with the step."""
    first = draw(QUESTIONS, 4, 0, 0)
    handed: list[Trajectory] = []

    def make(asked: Question, number: int) -> Trajectory:
        if (asked, number) == (first[1], 1):
            raise PolicyError("the engine is gone")
        return answers({first[0].question_id})(asked, number)  # type: ignore[no-any-return]

    made = collector(Scripted(make))
    made.on_episode = handed.append
    with pytest.raises(PolicyError, match="the engine is gone"):
        made.collect(0)
    assert [(t.question, t.reward) for t in handed] == [(first[0], 1.0), (first[0], 0.0), (first[1], 0.0)]
    made.source = Scripted(answers({first[0].question_id}))
    handed.clear()
    assert made.collect(0).trajectories == tuple(handed)


@pytest.mark.parametrize("step", range(4))
def test_no_process_asks_what_another_one_asks(step: int) -> None:
    asked: list[str] = []
    for process in (0, 1, 2):
        source = Scripted(answers(set()))
        collector(
            source, questions_per_step=3, dynamic_sampling="refill", refill_attempts=3, process=process, processes=3
        ).collect(step)
        asked += [name for attempt in source.asked for name in attempt]
    assert sorted(asked) == names(QUESTIONS)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("size", "count"), [(4, 3), (5, 4), (8, 3), (4, 4), (7, 2)])
def test_no_question_comes_twice_in_a_step_and_each_comes_once_an_epoch(seed: int, size: int, count: int) -> None:
    steps = [names(draw(QUESTIONS[:size], count, seed, step)) for step in range(3 * size)]
    assert all(len(set(asked)) == count for asked in steps)
    flat = [name for asked in steps for name in asked]
    for epoch in range(3 * count):
        assert sorted(flat[epoch * size : (epoch + 1) * size]) == sorted(names(QUESTIONS[:size]))
    assert steps[2] == names(draw(QUESTIONS[:size], count, seed, 2))


def test_more_questions_a_step_than_there_are_is_refused() -> None:
    with pytest.raises(DataError, match=r"questions_per_step is 4, but there are only 3"):
        collector(Scripted(answers(set())), QUESTIONS[:3], questions_per_step=4)


def searched(asked: Question, number: int) -> Trajectory:
    """The same wrong answer after a search that finds the gold page in the first rollout only."""
    page = asked.gold_pages[0] if number == 0 else "p9"
    search = replace(sampled(turn(1, "search", pages=[page])), index=1)
    return episode(asked, [search, sampled(turn(2, "answer", text="48"))], answer="48")


@pytest.mark.parametrize(("credit", "kept"), [("trajectory", 0), ("turn", 8), ("section", 8)])
def test_groups_of_equal_totals_are_kept_where_dense_rewards_differ(credit: CreditMode, kept: int) -> None:
    made = collector(Scripted(searched), credit=credit)
    made.pieces = lambda ids: ["<search>"] * len(ids)
    found = made.collect(0)
    assert (len(found.rollouts), found.skipped_groups) == (kept, 4 - kept // 2)


@pytest.mark.parametrize("credit", ["turn", "section"])
def test_a_malformed_rollout_earns_nothing_in_any_turn_or_section(credit: CreditMode) -> None:
    def make(asked: Question, number: int) -> Trajectory:
        whole = searched(asked, 0)
        broken = replace(whole.turns[1], action=replace(whole.turns[1].action, well_formed=False))
        return whole if number else replace(whole, turns=(whole.turns[0], broken))

    found = collector(Scripted(make), credit=credit, dynamic_sampling="keep").collect(0).rollouts
    malformed, good = found[0].credit, found[1].credit
    assert (good.turns[0].reward, good.rewards["pages_found"]) == (float(credit == "turn"), 1.0)
    assert not any(malformed.rewards.values())
    assert [t.reward for t in malformed.turns] == [0.0, 0.0]


def test_a_forced_search_has_no_row_and_a_forced_answer_only_its_sampled_tokens() -> None:
    processor = build_processor()
    played = play(
        processor,
        ["<think>staff 4 7</think><search>acme sales</search>", "4 7</answer>"],
        first_search="question",
        max_turns=2,
    )
    assert [t.forced for t in played.turns] == [True, False, True]
    assert played.turns[2].prompt.forced_prefix == "<answer>"
    rows = rows_of(played)
    assert [row.turn for row in rows] == [2, 3]
    pieces = processor.tokenizer.convert_ids_to_tokens
    assert pieces(rows[1].prompt_ids)[-1] == "<answer>"
    assert pieces(rows[1].completion_ids) == ["4", "7", "</answer>", "<end_of_utterance>"]

    made = collector(Scripted(lambda asked, number: played), credit="section", dynamic_sampling="keep")
    made.pieces = pieces
    turns = made.collect(0).rollouts[0].credit.turns
    assert [t.action for t in turns] == ["search", "answer"]
    assert turns[0].sections == (*("think",) * 5, *("search",) * 4, "other")
    assert turns[1].sections == ("answer", "answer", "answer", "other")


def test_figures_are_means_over_the_episodes_of_all_processes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process has one episode or none, the other one three."""
    asked = question()
    few = [replace(episode(asked, [turn(1, "answer")]), reward=1.0, rewards={"answer": 1.0})]
    many = [replace(episode(asked, searched(asked, 0).turns), reward=r, rewards={"answer": r}) for r in (0.0, 0.0, 0.6)]
    expected = {"reward": 0.4, "turns": 1.75, "rewards/answer": 0.4, "episodes": 4.0}
    found = summary([figures(t) for t in (*few, *many)])
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    # deviations 0.6, -0.4, -0.4, 0.2
    assert found["reward_std"] == pytest.approx((0.72 / 3) ** 0.5)
    assert summary([]) == {}

    def gathered(own: list[Any]) -> list[Any]:
        return [*own, *([(2, 5)] if own == [(1, 2)] else others)]

    others = [figures(t) for t in many]
    monkeypatch.setattr(turn_trainer, "gather_object", gathered)
    trainer = build_trainer(checkpoint, tmp_path, bandit_config())
    trainer._log_step(Collected((), (), 1, 2), [], 0, 0.0)
    logged = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    assert logged["reward"] == pytest.approx(0.2)
    assert (logged["episodes"], logged["skipped_groups"], logged["oversized_rows"]) == (3.0, 3.0, 7.0)
