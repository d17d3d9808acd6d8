"""How commands and workers open policies: vLLM for what the profile can come to, and each closed before the next."""

from __future__ import annotations

from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import pytest

from pipelines.workers.session import Session
from tests.tiny_model import picture, save_checkpoint
from tests.visor_core.agent.small_index import SmallIndex, pages_of
from visor_core.agent.strategies import preset
from visor_core.config import AgentConfig, EvaluationConfig, ModelConfig, Profile
from visor_core.errors import PolicyError
from visor_core.policies.base import Sampling
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question, write_questions


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("model"))


def test_a_command_starts_vllm_for_what_its_strategy_can_come_to(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UniDoc-RL reaches 20 pictures; the model's own context of 128,000 tokens takes gigabytes for each sequence."""
    pytest.importorskip("vllm")
    from pipelines.cli.asking import choose_policy

    asked: dict[str, Any] = {}
    monkeypatch.setattr("visor_core.policies.vllm.VLLMPolicy", lambda *given, **options: asked.update(options))
    profile = Profile(name="p", agent=preset("unidoc", AgentConfig()), model=ModelConfig(engine="vllm"))
    choose_policy(SmallIndex([]), checkpoint, "", "", "", "vllm", profile, Path("digests.json"))  # type: ignore[arg-type]
    assert asked.get("max_images", 16) >= 20
    assert 20 * 512 < (asked.get("max_model_len") or 128_000) < 64_000
    assert asked["cuda_graphs"] is True
    assert asked["max_num_seqs"] == profile.evaluation.concurrency


class Held(ScriptedPolicy):
    """Answers at once; `opened` counts those that were made and not closed."""

    opened = 0
    most = 0

    def __init__(self) -> None:
        super().__init__(lambda prompt: "<think>x</think><answer>1</answer>")
        Held.opened += 1
        Held.most = max(Held.most, Held.opened)

    def close(self) -> None:
        Held.opened -= 1


@pytest.fixture
def session(tmp_path: Path, checkpoint: Path) -> Any:
    """A worker's session on an index in memory."""
    write_questions(tmp_path / "questions.parquet", [Question("q", "acme ?", ("1",), "toy", "dev")])

    class Index(SmallIndex):
        def close(self) -> None:
            """Nothing is open."""

    found = SimpleNamespace(
        profile=Profile(name="p"),
        home=SimpleNamespace(digests=None),
        folder=tmp_path,
        open_index=lambda: Index(pages_of("acme")),
        input=lambda name: tmp_path / "questions.parquet" if name == "questions" else checkpoint,
        progress=SimpleNamespace(show=lambda *given: None),
        traces=lambda *given: None,
        evaluated=lambda *given, **named: None,
    )
    found.open_policy = MethodType(Session.open_policy, found)
    return found


def test_the_benchmark_holds_one_policy_at_a_time(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is left open keeps a GPU's memory, and the next one does not fit."""
    from pipelines.workers import benchmark

    monkeypatch.setattr("visor_core.policies.load.load_policy", lambda *given, **options: Held())
    for name in ("base", "sft", "grpo"):
        kept = session.folder / "episodes"
        benchmark.evaluate_checkpoint(session, f"{name}_checkpoint", EvaluationConfig(), name, kept=kept)
    assert (Held.most, Held.opened) == (1, 0)


def test_a_closed_policy_says_so(checkpoint: Path) -> None:
    from tests.tiny_model import prompt
    from visor_core.policies.transformers import TransformersPolicy

    with TransformersPolicy(checkpoint, picture) as policy:
        assert policy.complete_batch([prompt()], [Sampling(0.0, 2)])[0].token_ids
    with pytest.raises(PolicyError, match="was closed: load it again"):
        policy.complete_batch([prompt()], [Sampling(0.0, 2)])
    with ScriptedPolicy(lambda shown: "x") as scripted:
        assert scripted.complete_batch([prompt()], [Sampling()])[0].text == "x"
