"""What of an answer is citation: trailing brackets that name ledger entries. Lists, years and numbers stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.visor_core.agent.small_index import SmallIndex, pages_of
from visor_core.agent.citations import split_citations
from visor_core.agent.environment import Environment
from visor_core.agent.trajectory import Action
from visor_core.config import AgentConfig
from visor_core.policies.base import Completion
from visor_core.questions import Question

INDEX = SmallIndex(pages_of("acme staff 47", "acme staff 48", "acme staff 49"))
SEARCH = "<think>seen</think><search>acme staff</search>"


def answered(body: str, *, forced: bool = False) -> Action:
    """The action of an answer given when the ledger holds two entries; in a forced reply, which has no thought, one."""
    env = Environment(INDEX, AgentConfig(max_turns=2 if forced else 3))
    state = env.start(Question("q", "acme staff", ()))
    for reply in (SEARCH, SEARCH):
        state = env.step(state, Completion(reply))
    assert len(state.evidence.entries) == 1
    reply = f"<answer>{body}</answer>" if forced else f"<think>also seen</think><answer>{body}</answer>"
    return env.step(state, Completion(reply)).turns[-1].action


@pytest.mark.parametrize(
    ("body", "text", "citations"),
    [
        ("47 [1][2]", "47", (1, 2)),
        ("47 [2, 1]", "47", (2, 1)),
        ("47 [1], [2]", "47", (1, 2)),
        ("47, [2]", "47", (2,)),
        ("47 [1] and [2]", "47", (1, 2)),
        ("47 [1], and [2].", "47.", (1, 2)),
        ("salt and [2]", "salt and", (2,)),
        ("The values are: [1, 2].", "The values are: [1, 2].", ()),  # announced: it is what was answered
        ("The values are: [1, 2] [2].", "The values are: [1, 2].", (2,)),
        ("It rose [1].", "It rose.", (1,)),
        ("[8, 9] [1]", "[8, 9]", (1,)),
        ("[8, 9]", "[8, 9]", ()),
        ("[5]", "[5]", ()),
        ("[1]", "[1]", ()),  # the entry exists, but nothing else would be the answer
        ("[1] [2]", "[1]", (2,)),
        ("[1, 2] [2]", "[1, 2]", (2,)),
        ("The years are [2012, 2013].", "The years are [2012, 2013].", ()),
        ("The years are [2012, 2013] [2].", "The years are [2012, 2013].", (2,)),
        ("47 [9]", "47 [9]", ()),  # there is no entry 9
        ("47 [1][9]", "47 [1][9]", ()),
        ("rose [1], then fell [2].", "rose [1], then fell.", (2,)),
        ("['a', 'b']", "['a', 'b']", ()),
        ("a [5] b", "a [5] b", ()),
        ("f[0] .", "f[0] .", ()),
        ("47", "47", ()),
    ],
)
def test_citations_end_the_answer_and_name_entries(body: str, text: str, citations: tuple[int, ...]) -> None:
    action = answered(body)
    assert (action.text, action.citations) == (text, citations)


def test_a_forced_answer_keeps_its_list() -> None:
    action = answered("[8, 9] [1]", forced=True)
    assert (action.kind, action.text, action.citations) == ("answer", "[8, 9]", (1,))


def test_without_a_ledger_nothing_is_a_citation() -> None:
    env = Environment(INDEX, AgentConfig.model_validate({"evidence": {"enabled": False}}))
    state = env.step(env.start(Question("q", "acme staff", ())), Completion(SEARCH))
    action = env.step(state, Completion("<think>a</think><answer>47 [1]</answer>")).turns[-1].action
    assert (action.text, action.citations) == ("47 [1]", ())


numbers = st.integers(0, 9999)
lists = st.lists(numbers, min_size=1, max_size=4).map(lambda n: "[" + ", ".join(map(str, n)) + "]")
pieces = st.one_of(
    lists, numbers.map(str), st.sampled_from(["in", "2012", "47 %", "a", "3.5", "-", "and", "(1)", "'x'", "[a]"])
)
bodies = st.lists(pieces, min_size=1, max_size=5).map(" ".join)
groups = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3), min_size=1, max_size=3)


@given(bodies, groups, st.integers(0, 6), st.sampled_from(["", ".", "!"]))
def test_what_was_written_is_kept_but_for_trailing_entries(
    body: str, cited: list[list[int]], entries: int, closing: str
) -> None:
    brackets = "".join("[" + ", ".join(map(str, group)) + "]" for group in cited)
    known = range(1, entries + 1)
    text, citations = split_citations(f"{body} {brackets}{closing}", known)
    assert set(citations) <= set(known)
    assert text
    if all(n in known for group in cited for n in group) and not body.endswith("]"):
        flat = [n for group in cited for n in group]
        assert (text, citations) == (body + closing, tuple(dict.fromkeys(flat)))
    if cited[-1][-1] not in known:
        assert (text, citations) == (f"{body} {brackets}{closing}", ())
    # The answer is a beginning of what was written, its closing stop aside: nothing inside it was changed.
    assert f"{body} {brackets}".startswith(text.removesuffix(closing) if closing else text)


@given(bodies)
def test_an_answer_beyond_the_ledger_is_verbatim(body: str) -> None:
    assert split_citations(body, ()) == (body, ())
