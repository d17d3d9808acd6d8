"""A profile with settings over it survives the way through a run's tags and a process's environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.choice import PROFILE_TAG, PROFILES, SET_TAG, Choice, choice_from, choice_of_run
from visor_core.errors import ConfigError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
CHOICES = st.builds(
    Choice,
    st.sampled_from(["nano", "smolvlm"]),
    st.dictionaries(st.text(min_size=1, max_size=12), VALUES, max_size=3),
    st.lists(st.sampled_from(["pages", "questions"]), max_size=2).map(tuple),
)


@given(CHOICES)
def test_what_was_chosen_arrives(choice: Choice) -> None:
    assert choice_from(choice.environment()) == choice
    # A run's own tags win over the environment of the daemon that launches it.
    assert choice_of_run(choice.tags(), Choice("smolvlm", {"seed": 1}).environment()) == choice
    assert choice_of_run({}, choice.environment()) == choice


def test_a_profile_of_ones_own_is_named_by_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path
    (folder / "mine.yaml").write_text("name: mine\nseed: 3\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    tags = Choice("mine.yaml", {"grpo.steps": 7}).tags()
    assert tags[PROFILE_TAG] == str(folder / "mine.yaml")
    monkeypatch.chdir(PROFILES)
    profile = choice_of_run(tags, {}).resolve()
    assert (profile.name, profile.seed, profile.grpo.steps) == ("mine", 3, 7)


@pytest.mark.parametrize("text", ["grpo.steps=7", "[1]", '"x"', "{"])
def test_settings_that_are_no_map_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="VISOR_SET is not of the form"):
        choice_from({"VISOR_SET": text})
    with pytest.raises(ConfigError, match="VISOR_SET is not of the form"):
        choice_of_run({PROFILE_TAG: "nano", SET_TAG: text}, {})


def test_values_with_commas_hold() -> None:
    tags = Choice("nano", {"index.embedders": ["hash:256", "hash:512"]}).tags()
    assert json.loads(tags[SET_TAG]) == {"index.embedders": ["hash:256", "hash:512"]}
    assert choice_of_run(tags, {}).resolve().index.embedders == ("hash:256", "hash:512")
