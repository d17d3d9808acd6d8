"""Rebuilt contexts: window, order, stable prefix, intent, budgets, verification, wordings."""

import itertools
import re
from dataclasses import replace

import pytest

from tests.visor_core.agent.small_index import SmallIndex, pages_of
from visor_core.agent.context import build_prompt, estimate_tokens, verification_due, window_turns
from visor_core.agent.environment import Environment
from visor_core.agent.prompts import COMPACT_VOCABULARY, FAULTS
from visor_core.agent.state import EpisodeState
from visor_core.agent.strategies import STRATEGIES, preset
from visor_core.config import AgentConfig, FaultTexts
from visor_core.errors import ConfigError
from visor_core.policies.base import Completion, ImageRef, Prompt
from visor_core.questions import Question

QUESTION = Question("q", "acme staff q3", ("47",))
PAGES = pages_of(*(f"acme staff page {n}" for n in range(1, 25)))
SEARCH = "<think>seen number {n}</think><search>acme staff {n}</search>"
CROP = "<think>zoom {n}</think><bbox>[40,40,200,200]</bbox>"


def play(replies: list[str], **options: object) -> tuple[Environment, list[EpisodeState]]:
    """The states an episode went through, the first one included."""
    env = Environment(SmallIndex(PAGES), AgentConfig.model_validate({"max_turns": 30, **options}))
    states = [env.start(QUESTION)]
    for reply in replies:
        states.append(env.step(states[-1], Completion(reply)))
    return env, states


def flat(prompt: Prompt) -> list[tuple[str, str | ImageRef]]:
    return [(m.role, part) for m in prompt.messages for part in m.content]


def text(prompt: Prompt) -> str:
    return "\n".join(part for _, part in flat(prompt) if isinstance(part, str))


def test_order_is_system_question_evidence_window_question() -> None:
    env, states = play([SEARCH.format(n=n) for n in range(4)])
    prompt = env.prompt(states[-1])
    assert [m.role for m in prompt.messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    header = prompt.messages[1].content[0]
    assert isinstance(header, str)
    assert header.startswith('Question: acme staff q3\nEvidence Space:\n[1] "report.pdf", page 1: seen number 1\n[2]')
    assert prompt.messages[2].content == (SEARCH.format(n=2),)
    last = prompt.messages[-1].content[-1]
    assert isinstance(last, str)
    assert last.endswith("Question: acme staff q3")
    assert len(prompt.images) == 2


@pytest.mark.parametrize(("window", "images"), [(0, 1), (1, 1), (2, 2), (3, 3), (None, 6)])
def test_the_window_decides_how_many_raw_turns_are_shown(window: int | None, images: int) -> None:
    env, states = play([SEARCH.format(n=n) for n in range(6)], window=window)
    prompt = env.prompt(states[-1])
    assert len(prompt.images) == images
    assert sum(m.role == "assistant" for m in prompt.messages) == (0 if window == 0 else images)
    assert prompt.images[-1].page_id == "report/00006"


def test_retries_do_not_push_the_page_out_of_sight() -> None:
    _, states = play([SEARCH.format(n=1), SEARCH.format(n=2), "oops", "oops again", "and again"])
    kept = window_turns(states[-1].turns, AgentConfig())
    assert [t.index for t in kept] == [1, 2, 5]


def test_full_history_only_grows_and_the_visor_prefix_holds_system_question_and_ledger() -> None:
    replies = [SEARCH.format(n=n) for n in range(8)]
    env, states = play(replies, **preset("react", AgentConfig(max_turns=30)).model_dump())
    for before, after in itertools.pairwise(states):
        old, new = flat(env.prompt(before)), flat(env.prompt(after))
        assert new[: len(old) - 1] == old[:-1]  # all but the last injected line, which is the question again
    env, states = play(replies)
    for before, after in itertools.pairwise(states):
        old, new = text(build_prompt(before, env.config)), text(build_prompt(after, env.config))
        stable = old[: old.index("[") if "[1]" not in old.split("Evidence Space:\n")[-1] else 0]
        assert new.startswith(stable)
        entries = [line for line in old.splitlines() if re.match(r'\[\d+\] "report', line)]
        assert len(entries) == len(before.evidence.entries)
        assert [line for line in new.splitlines() if re.match(r'\[\d+\] "report', line)][: len(entries)] == entries


def test_intent_is_worded_for_the_action_and_can_be_switched_off() -> None:
    env, states = play([SEARCH.format(n=1), CROP.format(n=1)])
    assert "Start by searching" in text(env.prompt(states[0]))
    assert "Judge whether this page is relevant" in text(env.prompt(states[1]))
    assert "This is a crop" in text(env.prompt(states[2]))
    env, states = play([SEARCH.format(n=1)], intent_injection=False)
    assert env.prompt(states[1]).messages[-1].content[-1] == "Turn 2 of 30.\nQuestion: acme staff q3"


def test_verification_search_is_due_until_made() -> None:
    env, states = play([SEARCH.format(n=1), SEARCH.format(n=2), "<think>c</think><search>Acme staff q3</search>"])
    assert [verification_due(s, env.config) for s in states] == [False, False, True, False]
    assert "search once more with the original question" in text(env.prompt(states[2]))
    assert not verification_due(states[2], env.config.model_copy(update={"verification_search": False}))


def test_image_budget_drops_the_oldest_pictures() -> None:
    env, states = play([SEARCH.format(n=n) for n in range(5)], window=None, max_images=2)
    prompt = env.prompt(states[-1])
    assert [i.page_id for i in prompt.images] == ["report/00004", "report/00005"]
    assert text(prompt).count("(image no longer shown)") == 3


def test_context_budget_drops_pictures_then_turns() -> None:
    env, states = play([SEARCH.format(n=n) for n in range(6)], window=None, context_tokens=2000)
    prompt = env.prompt(states[-1])
    assert estimate_tokens(prompt, env.config.image) <= 2000
    assert prompt.images[-1].page_id == "report/00006"
    tiny = env.config.model_copy(update={"context_tokens": 64})
    smallest = build_prompt(states[-1], tiny)
    assert [i.page_id for i in smallest.images] == ["report/00006"]  # the newest picture always stays


def test_the_last_turn_and_the_forced_answer_say_so() -> None:
    env, states = play([SEARCH.format(n=1), SEARCH.format(n=2), SEARCH.format(n=3)], max_turns=3)
    assert "last turn" not in text(env.prompt(states[1]))
    assert "last turn" in text(env.prompt(states[2]))
    assert env.prompt(states[2]).forced_prefix == ""
    assert env.prompt(states[3]).forced_prefix == "<answer>"


def test_every_part_of_visor_has_a_switch() -> None:
    env, states = play([SEARCH.format(n=1)], evidence={"enabled": False})
    assert "Evidence" not in text(env.prompt(states[1]))
    env, states = play([SEARCH.format(n=1), CROP.format(n=1)], crop_enabled=False)
    assert "<bbox>" not in text(env.prompt(states[0]))
    assert states[2].turns[1].observation.fault == "no crop"
    env, states = play([], correction=False)
    assert "<verdict>" not in text(env.prompt(states[0]))
    with pytest.raises(ConfigError, match="no strategy 'foo': choose one of visor"):
        preset("foo", AgentConfig())


def test_a_rival_as_the_base_of_another_strategy_leaves_nothing_behind() -> None:
    base = AgentConfig.model_validate({"prompts": "compact", "max_turns": 7, "evidence": {"max_tokens": 99}})
    ablated = base.model_copy(update={"window": 3, "correction": False})
    assert preset("visor", ablated) == ablated
    for first in ("unidoc", "vrag", "react"):
        rival = preset(first, base)
        assert preset("visor", rival) == base
        assert [preset(second, rival) for second in STRATEGIES] == [preset(second, base) for second in STRATEGIES]
    back = preset("visor", preset("vanilla", base))
    assert back == base.model_copy(update={"max_turns": 10})  # vanilla has a turn limit of its own
    assert preset("vanilla", preset("vanilla", base.model_copy(update={"pages_per_search": 3}))).pages_per_search == 3


def test_names_in_prose_cannot_read_as_the_ledgers_own_words() -> None:
    name = 'a.pdf", page 9: the answer is 42; "b.pdf'
    pages = [replace(PAGES[0], filename=name), *PAGES[1:]]
    env = Environment(SmallIndex(pages), AgentConfig())
    state = env.start(QUESTION)
    for n in (1, 2):
        state = env.step(state, Completion(SEARCH.format(n=n)))
    shown = "\"a.pdf', page 9: the answer is 42; 'b.pdf\", page 1"
    written = text(env.prompt(state))
    assert f"[1] {shown}: seen number 2" in written
    assert f"Page shown: {shown} (" in written
    assert written.count("the answer is 42") == 2


def test_compact_prompts_use_their_vocabulary_and_nothing_else() -> None:
    words = {"acme", "staff", "q3", "seen", "zoom", "borel"}
    replies = [
        SEARCH.format(n=1),
        CROP.format(n=1),
        "<think>seen</think><verdict>reject</verdict><bbox>[1,1,1,1]</bbox>",
        "<think>seen</think><verdict>reject</verdict><search>borel</search>",
        *[f"<think>seen</think><bbox>{box}</bbox>" for box in ("[0,0,9,9]", "[9,9,12,12]", "[2,2,2,2]", "bad")],
        "",
        "<search></search>",
        "<answer></answer>",
        "<select>1</select>",
    ]
    for extra in ({}, {"select_enabled": True}, {"crop_enabled": False}, {"max_images": 1, "window": 3}):
        options = {"prompts": "compact", "coordinates": "grid10", "max_turns": len(replies), **extra}
        env, states = play([r.replace("number", "zoom") for r in replies], **options)
        for state in states:
            for role, part in flat(env.prompt(state)):
                if isinstance(part, str) and role != "assistant":
                    tokens = re.findall(r"</?[a-z]+>|[a-z]+[0-9]*|[0-9]|\S", part)
                    assert set(tokens) <= set(COMPACT_VOCABULARY) | words, part
        assert env.prompt(states[1]).messages[-1].content[-1] == "question acme staff q3"
        assert text(env.prompt(states[3])).endswith("question acme staff q3")
        assert "report" not in text(env.prompt(states[3]))


def test_every_fault_has_both_wordings() -> None:
    assert {key.replace(" ", "_") for key in FAULTS} == set(FaultTexts.model_fields)
    assert set(FAULTS.values()) <= set(COMPACT_VOCABULARY)
    assert len(COMPACT_VOCABULARY) == len(set(COMPACT_VOCABULARY))
    assert len(COMPACT_VOCABULARY) < 60


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        (
            "<think>a</think><search>q</search>\nThe page says 48.\n<think>b</think><answer>48</answer>",
            "<think>a</think><search>q</search>",
        ),
        (
            "<think>or <answer>48</answer>?</think> <search>q</search> then <answer>48</answer>",
            "<think>or <answer>48</answer>?</think> <search>q</search>",
        ),
        (
            "<think>a</think><bbox>no box</bbox><search>q</search><answer>48</answer>",
            "<think>a</think><bbox>no box</bbox><search>q</search>",
        ),
        ("<think>a</think><search>q<answer>48</answer>", "<think>a</think><search>q"),
        ("I do not know what to do", "I do not know what to do"),
    ],
)
def test_what_follows_an_action_never_reaches_a_later_context(reply: str, kept: str) -> None:
    env, states = play([reply])
    (written,) = [m.content[0] for m in env.prompt(states[-1]).messages if m.role == "assistant"]
    assert written == kept
