"""bfloat16 is used where the machine multiplies it in hardware, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from visor_core.config import OptimizerConfig
from visor_core.policies.precision import fast_bfloat16
from visor_core.training.loop import arguments


@pytest.mark.parametrize(
    ("gpu", "capabilities", "expected"),
    [
        (True, {"avx2": True}, True),
        (False, {"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
        (False, {"avx512_f": True, "avx512_bf16": True}, True),
        (False, {"neon": True, "bf16": True}, True),
        (False, {"neon": True}, False),
    ],
)
def test_training_autocasts_where_it_is_fast(
    gpu: bool, capabilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    fast_bfloat16.cache_clear()
    for asked in (True, False):
        config = OptimizerConfig(learning_rate=1.0, bf16=asked)
        assert arguments(config, tmp_path, steps=1, save_steps=1, seed=0)["bf16"] is (asked and expected)
    fast_bfloat16.cache_clear()
