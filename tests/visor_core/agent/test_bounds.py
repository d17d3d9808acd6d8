"""What an engine is started for: bounds that real episodes stay within, and far below a model's own context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tiny_model import build_processor
from tests.visor_core.agent.small_index import SmallIndex, pages_of
from visor_core.agent.bounds import engine_limits, image_bound, longest_prompt, most_images
from visor_core.agent.context import image_tokens
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.strategies import STRATEGIES, preset
from visor_core.config import AgentConfig, IndexConfig, VLLMConfig, load_profile
from visor_core.policies.base import Prompt
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question

PROFILES = Path(__file__).parents[3] / "pipelines" / "profiles"
KEY_VALUE_BYTES = {
    # 2 (key and value) × layers × key-value heads × head size × 2 bytes; from the model cards' config.json.
    "qwen2.5-vl-3b": 2 * 36 * 2 * 128 * 2,
    "qwen2.5-vl-7b": 2 * 28 * 4 * 128 * 2,
}
INDEX = SmallIndex(pages_of(*(f"acme staff {n}" for n in range(60)), filename=f"{'long name ' * 11}.pdf"))

ALL = IndexConfig(top_k=60)


def greedy_reader(config: AgentConfig, words: int) -> ScriptedPolicy:
    """Talks as long as it may and looks at as much as it can: searches, selections where there are any, crops."""
    thought = "acme " * words
    asked: list[Prompt] = []

    def write(prompt: Prompt) -> str:
        asked.append(prompt)
        turn = sum(message.role == "assistant" for message in prompt.messages)
        if config.select_enabled and turn % 2:
            return f"<think>{thought}</think><select>1</select>"
        if config.crop_enabled and turn % 3 == 2:
            return f"<think>{thought}</think><bbox>[{turn * 9},1,{turn * 9 + 200},220]</bbox>"
        return f"<think>{thought}</think><search>acme staff</search>"

    policy = ScriptedPolicy(write)
    policy.asked = asked  # type: ignore[attr-defined]
    return policy


@pytest.mark.parametrize("words", [2, 900])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_episode_goes_beyond_the_bounds(strategy: str, words: int) -> None:
    config = preset(strategy, AgentConfig())
    policy = greedy_reader(config, words)
    asked = Question("q", "how many staff has acme in the year 2013 ?", ("1",))
    run_reference(Environment(INDEX, config, ALL), policy, [asked])  # type: ignore[arg-type]
    tokenizer = build_processor().tokenizer
    shown, tokens = 0, 0
    for prompt in policy.asked:  # type: ignore[attr-defined]
        shown = max(shown, len(prompt.images))
        text = "\n".join(part for message in prompt.messages for part in message.content if isinstance(part, str))
        tokens = max(tokens, len(tokenizer(text)["input_ids"]) + image_tokens(prompt.images, config.image))
    assert 0 < shown <= most_images(config)
    assert 0 < tokens <= longest_prompt(config)


def test_candidates_and_history_are_counted() -> None:
    """UniDoc-RL shows three candidates and one page in every two of ten turns; a search in each shows three."""
    unidoc = preset("unidoc", AgentConfig())
    policy = greedy_reader(unidoc.model_copy(update={"crop_enabled": False}), 2)
    run_reference(Environment(INDEX, unidoc, ALL), policy, [Question("q", "acme staff ?", ())])  # type: ignore[arg-type]
    assert max(len(prompt.images) for prompt in policy.asked) == 20  # type: ignore[attr-defined]
    assert most_images(unidoc) == 30
    assert most_images(AgentConfig()) == 3
    assert most_images(AgentConfig(max_images=1)) == 2
    assert most_images(preset("vanilla", AgentConfig())) == 5
    assert image_bound(AgentConfig()) >= 512 + 2


@pytest.mark.parametrize("name", KEY_VALUE_BYTES)
def test_one_sequence_takes_a_tenth_of_what_the_whole_context_would(name: str) -> None:
    profile = load_profile(PROFILES / f"{name}.yaml")
    length = engine_limits(profile.agent, profile.model.vllm, episodes=64).max_model_len
    whole, kept = (tokens * KEY_VALUE_BYTES[name] / 2**30 for tokens in (128_000, length))
    if name == "qwen2.5-vl-7b":
        assert whole == pytest.approx(6.84, abs=0.01)
    assert kept < whole / 7
    assert kept < 1.0


def test_an_explicit_setting_wins() -> None:
    given: dict[str, Any] = {"max_model_len": 100, "max_images": 2, "gpu_memory": 0.5, "cuda_graphs": False}
    limits = engine_limits(AgentConfig(), VLLMConfig(**given), episodes=7, gpu_memory=None)
    assert {key: getattr(limits, key) for key in given} == given
    assert limits.exact_length
    assert limits.max_num_seqs == 7
    assert engine_limits(AgentConfig(), VLLMConfig(), episodes=7, gpu_memory=0.3).gpu_memory == 0.3
