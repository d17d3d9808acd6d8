"""What an action refers to is in its context: the page of a box, or the box is refused; the candidates of a choice."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.visor_core.agent.small_index import SmallIndex, pages_of
from visor_core.agent.context import estimate_tokens
from visor_core.agent.environment import Environment
from visor_core.agent.state import EpisodeState
from visor_core.agent.strategies import preset
from visor_core.config import AgentConfig
from visor_core.policies.base import Completion, ImageRef
from visor_core.questions import Question
from visor_core.trajectories.codec import decode_observation, encode_observation

INDEX = SmallIndex(pages_of(*[f"acme staff {n}" for n in range(4)]))
SEARCH = "<think>a</think><search>acme staff</search>"
NOTHING = "<think>a</think><search>zebra</search>"
CROPS = [f"<think>a</think><bbox>[{10 + 8 * n},10,{200 + 70 * n},{150 + 90 * n}]</bbox>" for n in range(4)]


def play(replies: list[str], **options: Any) -> tuple[Environment, EpisodeState]:
    env = Environment(INDEX, AgentConfig.model_validate({"max_turns": 20, "crop": {"blank_std": 0}, **options}))
    state = env.start(Question("q", "acme staff", ()))
    for reply in replies:
        state = env.step(state, Completion(reply))
    return env, state


@pytest.mark.parametrize("prompts", ["full", "compact"])
@pytest.mark.parametrize(
    ("replies", "options"),
    [
        ([SEARCH, *CROPS[:2]], {}),
        ([SEARCH, *CROPS[:3]], {"window": 3}),
        ([SEARCH, CROPS[0]], {"window": 1}),
        ([SEARCH, CROPS[0]], {"window": 0}),
        ([SEARCH, "oops"], {"window": 0}),
        ([SEARCH, NOTHING, NOTHING], {}),
        ([SEARCH, SEARCH, *CROPS[:3]], {}),
        ([SEARCH, *CROPS[:2]], {"max_images": 2, "window": None}),
        ([SEARCH, *CROPS[:3]], {"context_tokens": 1900, "window": None}),
    ],
)
def test_the_page_of_the_next_box_is_in_the_context_once(
    replies: list[str], options: dict[str, Any], prompts: str
) -> None:
    env, state = play(replies, prompts=prompts, **options)
    assert [t.observation.fault for t in state.turns if t.observation.kind == "retry" and t.action.kind == "crop"] == []
    prompt = env.prompt(state)
    assert prompt.images.count(state.current_page) == 1  # type: ignore[arg-type]
    newest = state.turns[-1].observation.images
    assert not newest or prompt.images[-1] == newest[-1]


def test_a_pinned_page_stands_between_ledger_and_window_under_its_name() -> None:
    env, state = play([SEARCH, *CROPS[:2]])
    header = env.prompt(state).messages[1].content
    page = state.current_page
    assert page is not None
    assert header[1:] == (f'The page a box refers to: "report.pdf", page 1 ({page.width} × {page.height} pixels)', page)
    # Where the window shows it, it is not pinned.
    _, before = play([SEARCH, CROPS[0]])
    assert len(env.prompt(before).messages[1].content) == 1
    # Nothing before it changes from one context to the next but for the ledger's new line.
    later = env.step(state, Completion(CROPS[2]))
    assert env.prompt(later).messages[0] == env.prompt(state).messages[0]
    assert str(env.prompt(later).messages[1].content[0]).startswith(str(header[0]))
    assert env.prompt(later).messages[1].content[1:] == header[1:]


def test_candidates_that_wait_for_a_choice_are_pinned_as_well() -> None:
    env, state = play([SEARCH, NOTHING, NOTHING], select_enabled=True)
    prompt = env.prompt(state)
    assert prompt.images == state.candidates
    assert str(prompt.messages[1].content[1]).startswith('Search results: candidate 1: "report.pdf", page 1;')
    chosen = env.step(state, Completion("<think>a</think><select>2</select>"))
    assert chosen.current_page == state.candidates[1]
    assert env.prompt(chosen).images == (state.candidates[1],)
    # Where there is no room for all, each keeps its number.
    env, state = play([SEARCH, NOTHING, NOTHING], select_enabled=True, max_images=2)
    assert env.prompt(state).messages[1].content[2:] == (*state.candidates[:2], "(image no longer shown)")


def test_without_room_for_the_page_a_box_is_refused_with_the_reason() -> None:
    env, state = play([SEARCH, *CROPS[:2]], max_images=1)
    refused = state.turns[-1].observation
    assert (refused.kind, refused.fault) == ("retry", "page gone")
    assert "was not in view" in refused.message
    assert env.prompt(state).images == (state.current_page,)  # the refusal shows nothing, so now there is room
    assert env.step(state, Completion(CROPS[1])).turns[-1].observation.kind == "crop"
    tiny, state = play([SEARCH, CROPS[0]], context_tokens=64)
    assert tiny.step(state, Completion(CROPS[1])).turns[-1].observation.fault == "page gone"


def test_where_no_box_can_be_given_nothing_is_pinned() -> None:
    env, state = play([SEARCH, NOTHING, NOTHING], crop_enabled=False)
    assert env.prompt(state).images == ()
    env, state = play([SEARCH, *CROPS[:2]], max_turns=3)
    assert env.prompt(state).forced_prefix
    assert state.current_page not in env.prompt(state).images


def test_an_observation_keeps_its_names_through_the_store() -> None:
    _, state = play([SEARCH, CROPS[0]])
    for turn in state.turns:
        assert turn.observation.names == ('"report.pdf", page 1',)
        assert decode_observation(encode_observation(turn.observation)) == turn.observation


@given(
    st.lists(st.sampled_from([SEARCH, NOTHING, "oops", "<think>a</think><select>1</select>", *CROPS]), max_size=9),
    st.sampled_from([0, 1, 2, 3, None]),
    st.sampled_from([None, 1, 2, 3]),
    st.sampled_from([None, 64, 1400, 2500]),
    st.sampled_from(["visor", "unidoc", "vrag"]),
)
@settings(max_examples=150, deadline=None)
def test_any_box_that_is_followed_was_given_in_sight_of_its_page(
    replies: list[str], window: int | None, images: int | None, tokens: int | None, strategy: str
) -> None:
    changes = {"window": window, "max_images": images, "context_tokens": tokens}
    config = preset(strategy, AgentConfig()).model_copy(update=changes)
    env = Environment(INDEX, config.model_copy(update={"crop": config.crop.model_copy(update={"blank_std": 0})}))
    state = env.start(Question("q", "acme staff", ()))
    for reply in replies:
        page: ImageRef | None = state.current_page
        prompt = env.prompt(state)
        newest = state.last.images if state.last else ()
        assert images is None or len(prompt.images) <= max(images, 1)
        assert (
            tokens is None or estimate_tokens(prompt, config.image) <= tokens or len(prompt.images) <= len(newest) + 1
        )
        if page is not None and images in (None, 3) and tokens is None and len(newest) < 3:
            assert page in prompt.images
        state = env.step(state, Completion(reply), prompt)
        if state.turns[-1].observation.kind == "crop":
            assert page in prompt.images
