"""One place turns a name into a policy, or says in one line why it cannot."""

import asyncio
import importlib.util
from pathlib import Path

import pytest

from tests.tiny_model import picture, prompt
from visor_core.errors import ConfigError, MissingDependencyError, PolicyError
from visor_core.policies.base import BatchPolicy, Policy, Sampling
from visor_core.policies.load import load_policy
from visor_core.policies.openai_compatible import OpenAICompatiblePolicy
from visor_core.policies.scripted import ScriptedPolicy


def test_a_folder_becomes_a_batch_policy(checkpoint: Path) -> None:
    policy = load_policy(checkpoint, picture, device="cpu", name="tiny")
    assert isinstance(policy, BatchPolicy)
    assert (policy.name, policy.checkpoint) == ("tiny", str(checkpoint))
    assert asyncio.run(policy.complete(prompt(), Sampling(0.0, 3))).prompt_tokens > 0


def test_an_address_becomes_an_endpoint() -> None:
    policy = load_policy("big-model", picture, base_url="http://127.0.0.1:1/v1", api_key="env:VISOR_TEST_KEY")
    assert isinstance(policy, OpenAICompatiblePolicy)
    assert isinstance(policy, Policy)
    assert policy.name == "big-model"


def test_a_secret_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="never as itself") as caught:
        load_policy("big-model", picture, base_url="http://127.0.0.1:1/v1", api_key="sk-canary")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "nowhere"])
def test_a_missing_folder_is_one_clear_line(name: str) -> None:
    with pytest.raises(PolicyError, match="no checkpoint at"):
        load_policy(name, picture)


def test_an_incomplete_folder_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PolicyError, match=r"tokenizer_config.json, \*.safetensors missing"):
        load_policy(tmp_path, picture)


def test_a_missing_engine_says_how_to_install_it(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="vLLM is not installed"):
        load_policy(checkpoint, picture, engine="vllm")


def test_a_scripted_policy_keeps_the_forced_prefix() -> None:
    policy = ScriptedPolicy(lambda shown: "<answer>1</answer>", count_tokens=lambda shown: len(shown.messages))
    assert isinstance(policy, BatchPolicy)
    free, forced = policy.complete_batch([prompt(), prompt(prefix="<think></think>")], [Sampling()] * 2)
    assert (free.text, free.prompt_tokens) == ("<answer>1</answer>", 2)
    assert forced.text == "<think></think><answer>1</answer>"
    assert asyncio.run(policy.complete(prompt(prefix="<answer>"), Sampling())).text == "<answer>1</answer>"
