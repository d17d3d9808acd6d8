"""GRPO with vLLM as the engine: weights replaced after every step, the mismatch measured and corrected."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.visor_core.agent.small_index import SmallIndex, pages_of
from tests.visor_core.training.test_stages import AGENT, QUESTIONS, reward, rollout_config
from visor_core.agent.environment import Environment
from visor_core.agent.trajectory import Trajectory
from visor_core.config import VLLMConfig
from visor_core.training.engines import VLLMRollouts
from visor_core.training.grpo import train_grpo
from visor_core.training.rewards import RewardContext
from visor_core.training.turn_trainer import TurnGRPOTrainer

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    # torch's own deprecations, met when vLLM is imported.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.distributed.reduce_op:FutureWarning"),
]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"lora_rank": 2}, marks=pytest.mark.slow_walk),
        pytest.param({"steps_ahead": 1, "save_steps": 1000}, marks=pytest.mark.slow_walk),
    ],
    ids=str,
)
def test_vllm_rolls_out_the_weights_being_trained(
    changes: dict[str, Any], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vllm")
    index = SmallIndex(pages_of("acme staff q3 47", "borel staff q3 12"))
    gaps: list[float] = []
    inner = TurnGRPOTrainer._get_per_token_logps_and_entropies

    def watching(trainer: TurnGRPOTrainer, *args: Any, **options: Any) -> Any:
        scored = inner(trainer, *args, **options)
        engine = trainer._inputs.get("engine_logps")
        if engine is not None:
            mask = trainer._inputs["completion_mask"]
            gaps.append(float(((scored[0].detach() - engine).abs() * mask).max()))
        return scored

    monkeypatch.setattr(TurnGRPOTrainer, "_get_per_token_logps_and_entropies", watching)
    steps: list[dict[str, float]] = []
    finished: list[Trajectory] = []
    result = train_grpo(
        checkpoint,
        QUESTIONS,
        Environment(index, AGENT),
        index,
        rollout_config(**changes),
        tmp_path,
        5,
        engine="vllm",
        context=RewardContext(judge=reward),
        on_step=steps.append,
        on_episode=finished.append,
    )
    assert result.checkpoint.is_dir()
    assert len({t.trajectory_id for t in finished if t.reward is not None}) == len(finished) == 18
    assert len(steps) == 3
    if "steps_ahead" in changes:
        assert [step["staleness"] for step in steps] == [0.0, 1.0, 1.0]
        assert all(step["seconds/overlap"] > 0.0 for step in steps[1:])
        steps = steps[:1]
    assert gaps
    # Refreshed weights: what the engine recorded is what the trained model gives each token, whatever averages hide.
    assert max(gaps) < 0.15
    # Both engines run the same weights, so the ratio stays near 1 on every step, the updated ones included.
    assert all(abs(step["importance_ratio"] - 1.0) < 0.05 for step in steps)
    assert not list(tmp_path.glob("rollout-weights*"))


@pytest.mark.parametrize("device", ["cuda:0", "cuda:3", "cpu"])
def test_the_engine_shares_the_gpu_of_its_process(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = pytest.importorskip("visor_core.policies.vllm")
    asked: dict[str, Any] = {}
    monkeypatch.setattr(vllm, "VLLMPolicy", lambda *args, **options: asked.update(options))
    trainer = SimpleNamespace(
        grpo=rollout_config(engine_memory=0.4),
        args=SimpleNamespace(output_dir=str(tmp_path)),
        accelerator=SimpleNamespace(process_index=3, device=torch.device(device)),
        encoder=SimpleNamespace(loader=None),
    )
    environment = Environment(SmallIndex([]), AGENT)
    VLLMRollouts(trainer, environment, tmp_path, 0, "bfloat16", begins=0, vllm=VLLMConfig())  # type: ignore[arg-type]
    assert asked["gpu_memory"] == 0.4
    assert asked["max_num_seqs"] == trainer.grpo.rollout_batch
    # Two turns in the window, and a page that a crop is of.
    assert asked["max_images"] == 3
    assert AGENT.max_new_tokens < asked["max_model_len"] < 16_384
    assert asked["gpu"] == {"cuda:0": 0, "cuda:3": 3, "cpu": None}[device]


def test_vllm_counts_gpus_among_the_visible_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = pytest.importorskip("visor_core.policies.vllm")
    from vllm import EngineArgs
    from vllm.platforms import current_platform

    # What vLLM itself makes of the options: the third GPU that a process sees, where it sees 4 to 7.
    monkeypatch.setenv(current_platform.device_control_env_var, "4,5,6,7")
    options = vllm._gpu_options(0.4, 2)
    assert EngineArgs(**options)._resolve_device_ids() == [6]
    assert EngineArgs(**options).gpu_memory_utilization == 0.4
    assert vllm._gpu_options(None, None) == {}
