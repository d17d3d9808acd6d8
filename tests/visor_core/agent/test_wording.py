"""What a pretrained model is told, by strategy, and the file in which a user replaces it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.visor_core.agent.small_index import SmallIndex, pages_of
from visor_core.agent.actions import parse
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.prompts import wording
from visor_core.agent.state import EpisodeState
from visor_core.agent.strategies import STRATEGIES, preset
from visor_core.config import AgentConfig, Profile, derived, load_profile, shipped_wording
from visor_core.config.wording import SHIPPED, read_wording
from visor_core.errors import ConfigError
from visor_core.policies.base import Completion, Prompt
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question
from visor_core.trajectories.codec import decode_trajectory, encode_trajectory
from visor_core.trajectories.replay import replay

INDEX = SmallIndex(pages_of("acme staff 47", "acme staff 48", "borel staff"))
QUESTION = Question("q", "acme staff", ("47",))
SEARCH = "<think>x</think><search>acme staff</search>"
CROP = "<think>a page on staff</think><bbox>[10,10,200,200]</bbox>"


def play(config: AgentConfig, *replies: str) -> tuple[Environment, EpisodeState]:
    env = Environment(INDEX, config)
    state = env.start(QUESTION)
    for reply in replies:
        state = env.step(state, Completion(reply))
    return env, state


def said(prompt: Prompt) -> str:
    return "\n".join(part for m in prompt.messages for part in m.content if isinstance(part, str))


def agent(**options: Any) -> AgentConfig:
    return AgentConfig.model_validate(options)


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_prompt_shows_an_action_that_the_strategy_lacks(name: str) -> None:
    env, state = play(preset(name, agent(first_search="question")))
    config, shown = env.config, said(env.prompt(state))
    assert ("<search>" in shown) == config.search_enabled
    assert ("<bbox>" in shown) == config.crop_enabled
    assert ("<select>" in shown) == config.select_enabled
    assert ("<verdict>" in shown) == (config.evidence.enabled and config.correction)
    assert "<answer>" in shown
    actions = re.findall(r"^- <(\w+)>", shown, re.MULTILINE)
    assert actions == [*(["search"] * config.search_enabled), *(["select"] * config.select_enabled),
                       *(["bbox"] * config.crop_enabled), "answer"]  # fmt: skip


def test_vanilla_holds_question_and_pages_in_one_message() -> None:
    env, state = play(preset("vanilla", AgentConfig()))
    prompt = env.prompt(state)
    assert [m.role for m in prompt.messages] == ["system", "user"]
    assert len(prompt.images) == 3
    assert "Turn 1 of 1." in said(prompt)
    assert "Search" not in said(prompt).replace("Search results", "")


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("frame", ["pixels", "thousand", "grid10"])
def test_the_worked_reply_is_well_formed_and_has_the_form_that_is_asked_for(name: str, frame: str) -> None:
    config = preset(name, agent(coordinates=frame))
    system = str(Environment(INDEX, config).prompt(EpisodeState(QUESTION)).messages[0].content[0])
    examples = [line for line in system.splitlines() if line.startswith("For example: ")]
    assert len(examples) == 1
    reply = examples[0].removeprefix("For example: ")
    found = parse(reply, search=config.search_enabled, crop=config.crop_enabled, select=config.select_enabled)
    assert found.well_formed
    judged = config.evidence.enabled and config.correction
    assert (found.verdict == "keep") == judged
    form = "Each reply is <think>…</think><verdict>…</verdict> and then exactly one action:"
    assert (form in system) == judged
    assert ("shares of its page" in system) == (config.evidence.enabled and config.crop_enabled)


def test_each_frame_is_said_with_how_boxes_of_the_ledger_are_read() -> None:
    for frame, words in (("pixels", "in pixels of the page"), ("thousand", "integers from 0 to 1000")):
        system = str(Environment(INDEX, agent(coordinates=frame)).prompt(EpisodeState(QUESTION)).messages[0].content[0])
        assert system.count(words) == 2  # where a box is written, and that it is not how the ledger's is read
        assert "from 0 to 1: [0.50,0.00,1.00,0.25]" in system


def test_the_turn_is_said_last_so_that_nothing_before_it_changes() -> None:
    env, state = play(agent(max_turns=4), SEARCH, CROP)
    tail = str(env.prompt(state).messages[-1].content[-1])
    assert tail.startswith("Turn 3 of 4. This is a crop")
    assert said(env.prompt(state)).count("Turn 3 of 4.") == 1
    assert not re.search(r"Turn \d", said(env.prompt(state)).removesuffix(tail))
    last = env.step(state, Completion(SEARCH))
    assert str(env.prompt(last).messages[-1].content[-1]).startswith("Turn 4 of 4. This is the last turn:")
    forced = env.step(last, Completion(SEARCH))
    assert "Turn" not in said(env.prompt(forced))
    # A search of the environment's own is no turn of the policy's.
    env, state = play(agent(max_turns=4, first_search="question"))
    assert "Turn 1 of 3." in said(env.prompt(state))


@pytest.mark.parametrize("ledger", [True, False])
@pytest.mark.parametrize("correction", [True, False])
@pytest.mark.parametrize("gate", ["all", "relevant"])
def test_entry_and_verdict_are_asked_for_only_where_there_are_some(ledger: bool, correction: bool, gate: str) -> None:
    config = agent(evidence={"enabled": ledger, "gate": gate}, correction=correction)
    env, state = play(config, SEARCH, CROP.replace("<bbox>", "<verdict>keep</verdict><bbox>"))
    shown = said(env.prompt(state))
    assert ("update your entry" in shown) == ledger
    judges = ledger and (correction or gate == "relevant")
    assert ("judge the crop" in shown) == ("<verdict>reject</verdict>" in shown) == judges
    # Only under correction does a rejected crop leave the reading from before it in force.
    after = env.step(state, Completion("<think>dark</think><verdict>reject</verdict><search>acme</search>"))
    falls_back = [e.observation for e in after.evidence.standing] == ["a page on staff"]
    assert ("A rejected crop changes nothing" in shown) == (ledger and correction) == falls_back


def test_a_worked_search_judges_a_page_that_was_seen() -> None:
    env, state = play(agent(crop_enabled=False))
    assert "<think>The page gives" in said(env.prompt(state))


def wording_file(folder: Path, **changes: Any) -> Path:
    """The shipped wording with other texts; a text of None takes its key out."""
    texts = yaml.safe_load(SHIPPED.read_text(encoding="utf-8")) | changes
    path = folder / "words.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in texts.items() if v is not None}, allow_unicode=True))
    return path


def profile_file(folder: Path, **agent: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "agent": agent}))
    return path


def test_a_users_wording_is_read_beside_the_profile_and_becomes_part_of_it(tmp_path: Path) -> None:
    shots = [{"user": "Question: what is {x}?", "assistant": "<think>a</think><search>x</search>"}]
    wording_file(tmp_path, role="Du beantwortest Fragen.", few_shot=shots)
    profile = load_profile(profile_file(tmp_path, wording="words.yaml"))
    (tmp_path / "words.yaml").unlink()  # from here on nothing is taken from the disk
    assert Profile.model_validate_json(profile.model_dump_json()) == profile
    assert derived(profile, {"seed": 3}, "test").agent == profile.agent
    env = Environment(INDEX, profile.agent)
    prompt = env.prompt(env.start(QUESTION))
    assert str(prompt.messages[0].content[0]).startswith("Du beantwortest Fragen.\nEach reply is")
    assert [(m.role, m.content) for m in prompt.messages[1:3]] == [
        ("user", ("Question: what is {x}?",)),
        ("assistant", ("<think>a</think><search>x</search>",)),
    ]
    script = iter([SEARCH, CROP, "<think>47</think><answer>47 [2]</answer>"])
    (episode,) = run_reference(env, ScriptedPolicy(lambda p: next(script)), [QUESTION])
    stored = decode_trajectory(encode_trajectory(episode))
    assert "Du beantwortest Fragen." in stored.config
    assert replay(stored, environment=env).identical
    # Other words are another configuration: everything keyed by it tells the two apart.
    assert profile.agent.model_dump_json() != AgentConfig().model_dump_json()


def test_a_wording_may_lie_in_the_working_folder_or_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    wording_file(tmp_path, verify="Search again.")
    monkeypatch.chdir(tmp_path)
    path = profile_file(tmp_path / "elsewhere", wording="words.yaml")
    for profile in (load_profile(path), derived(Profile(name="x"), {"agent.wording": "words.yaml"}, "test")):
        assert profile.agent.wording is not None
        assert profile.agent.wording.verify == "Search again."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roles": "x"}, r"words.yaml: roles: unknown key"),
        ({"role": None}, r"words.yaml: role: Field required"),
        ({"role": "{name} reads"}, r"words.yaml: role: .*unknown placeholder \{name\}: known here are none"),
        ({"turn": "{turn.real}"}, r"words.yaml: turn: .*unknown placeholder \{turn.real\}: known here are \{turn\}"),
        ({"question": "Q: {question!r}"}, r"words.yaml: question: .*unknown placeholder \{question\}"),
        ({"question": "Q"}, r"words.yaml: question: .*the placeholder \{question\} is missing"),
        ({"role": "a { b"}, r"words.yaml: role: .*a brace that is no placeholder is written twice"),
        ({"faults": {}}, r"words.yaml: faults.no_action: Field required"),
        ({"few_shot": [{"user": "a"}]}, r"words.yaml: few_shot.0.assistant: Field required"),
    ],
)
def test_what_is_wrong_with_a_wording_is_said_with_file_and_key(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    wording_file(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message):
        load_profile(profile_file(tmp_path, wording="words.yaml"))


def test_a_wording_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no wording at .*words\.yaml"):
        load_profile(profile_file(tmp_path, wording="words.yaml"))
    wording_file(tmp_path)
    with pytest.raises(ConfigError, match=r"agent\.wording is for agent\.prompts: full, not compact"):
        load_profile(profile_file(tmp_path, wording="words.yaml", prompts="compact"))
    (tmp_path / "words.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"words\.yaml is not valid YAML"):
        load_profile(profile_file(tmp_path, wording="words.yaml"))


def test_braces_in_untrusted_text_are_only_text() -> None:
    env = Environment(INDEX, AgentConfig())
    state = env.start(Question("q", "what is {index} or {0} {{x}}?", ()))
    for reply in (SEARCH, "<think>it reads {box} and {document.x}</think><search>acme staff</search>"):
        state = env.step(state, Completion(reply))
    shown = said(env.prompt(state))
    assert "Question: what is {index} or {0} {{x}}?" in shown
    assert "it reads {box} and {document.x}" in shown


def test_the_shipped_file_says_everything_it_documents() -> None:
    shipped = shipped_wording()
    assert shipped.model_dump(mode="json") == yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    assert AgentConfig().wording == shipped
    assert AgentConfig(prompts="compact").wording is None


def test_the_compact_words_are_those_that_small_models_are_trained_on() -> None:
    config = agent(prompts="compact", coordinates="grid10", max_turns=6, crop={"blank_std": 0})
    _, state = play(
        config,
        SEARCH,
        "<think>acme staff</think><bbox>[0,0,4,4]</bbox>",
        "<think>dim</think><verdict>reject</verdict><bbox>[5,5,5,5]</bbox>",
        "<think>dim</think><verdict>reject</verdict><search>acme staff</search>",
        "oops",
        "<think>47</think><answer>47</answer>",
    )
    said = [turn.observation.message for turn in state.turns]
    assert said == ["page", "crop", "stand 1 retry box", "page", "retry action", ""]
    texts = [[p for m in turn.prompt.messages[1:] for p in m.content if isinstance(p, str)] for turn in state.turns]
    assert texts[0] == ["evidence", "question acme staff"]
    assert texts[1] == ["evidence", SEARCH, "page", "question acme staff"]
    assert texts[3][0] == "evidence\n1 acme staff\n2 no dim"
    assert texts[3][-1] == "verify question acme staff"
    assert texts[5][-1] == "last question acme staff"
    assert all(turn.prompt.messages[0].content == ("search read answer",) for turn in state.turns)


def test_the_search_is_described_as_it_is_configured() -> None:
    """One page and none twice, or several, or pages again."""

    def system(**settings: object) -> str:
        return wording(AgentConfig(**settings)).system(AgentConfig(**settings))  # type: ignore[arg-type]

    assert "returns the best page not seen yet" in system()
    for other in ({"pages_per_search": 3}, {"exclude_seen": False}):
        assert "not seen yet" not in system(**other)
        assert "returns the best pages of the collection" in system(**other)
    assert "<answer>not answerable</answer>" in system()


@pytest.mark.parametrize("text", ["", "- a list\n", "5\n"])
def test_a_wording_that_is_no_mapping_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml must be a mapping of texts, as full_wording\.yaml is"):
        read_wording(path)


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("Int", "Answer format: a whole number in digits, and nothing else."),
        ("List", "Answer format: a list, as ['first', 'second']."),
        ("Str", "Answer format: a word or a short phrase."),
        ("None", "Answer format: a word or a short phrase."),  # another line would tell that there is no answer
        ("", ""),
        ("Exact", ""),
    ],
)
def test_the_format_of_an_answer_is_stated_below_the_question(form: str, line: str) -> None:
    question = Question("q", "acme staff", ("47",), answer_format=form)
    plain, stating = (Environment(INDEX, agent(answer_format=on)) for on in (False, True))
    for replies in ((), (SEARCH,), (SEARCH, CROP)):
        said_by = []
        for env in (plain, stating):
            state = env.start(question)
            for reply in replies:
                state = env.step(state, Completion(reply))
            said_by.append(said(env.prompt(state)))
        assert "Answer format" not in said_by[0]
        assert said_by[1].count(line) == 2 if line else said_by[1] == said_by[0]
        assert re.sub(r"\nAnswer format: .*", "", said_by[1]) == said_by[0]


def test_a_stated_format_is_replayed_from_the_record() -> None:
    config = agent(answer_format=True)
    env = Environment(INDEX, config)
    policy = ScriptedPolicy(lambda prompt: SEARCH if len(prompt.images) < 1 else "<think>x</think><answer>47</answer>")
    (episode,) = run_reference(env, policy, [Question("q", "acme staff", ("47",), answer_format="Int")])
    stored = decode_trajectory(encode_trajectory(episode))
    assert "Answer format: a whole number" in said(stored.turns[-1].prompt)
    assert replay(stored).identical
    (other,) = run_reference(env, policy, [Question("q", "acme staff", ("47",), answer_format="Str")])
    assert other.trajectory_id != episode.trajectory_id


def test_a_wording_without_words_for_formats_cannot_state_them() -> None:
    with pytest.raises(ValueError, match="answer_format needs the text `answer_format`"):
        agent(answer_format=True, prompts="compact")
    texts = shipped_wording().model_dump() | {"answer_format": ""}
    with pytest.raises(ValueError, match="answer_format needs the text `answer_format`"):
        agent(answer_format=True, wording=texts)
    assert not agent(
        wording={key: text for key, text in texts.items() if not key.startswith("answer_form")}
    ).answer_format
