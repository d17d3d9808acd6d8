"""Two processes give the update of one: really two, on the CPU, with equal and unequal numbers of rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from assets_defs.machinery.launching import ACCELERATE_CONFIGS
from tests.visor_core.training import forking
from visor_core.training.checkpoints import mark_complete

ROOT = Path(__file__).parents[3]
CHUNK = 126
"""Logits made at once: those of two tokens of the tiny vocabulary."""


def torchrun(processes: int, script: str, *arguments: object) -> None:
    """Run a script of this package on some processes, as the launcher starts them."""
    # Not `accelerate launch --cpu`, which starts a single process whatever number it is given.
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone",
        "-m", f"tests.visor_core.training.{script}", *map(str, arguments),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def launch(processes: int, script: str, *arguments: object) -> None:
    """The same without the launcher, whose processes each import everything anew."""
    forking.run(f"tests.visor_core.training.{script}", arguments, processes, seconds=300)


def gradients(processes: int, checkpoint: Path, output: Path, kind: str, rank: int, chunk: int = 0) -> dict[str, Any]:
    """Gradients by case."""
    output.mkdir()
    # The launcher itself is tried once, on the plainest case.
    started_by = torchrun if (kind, rank, chunk) == ("replicated", 0, 0) else launch
    started_by(processes, "update_script", checkpoint, output, kind, rank, chunk)
    found: dict[str, Any] = torch.load(output / "gradients.pt")
    assert int(found.pop("processes")[""]) == processes
    return found


@pytest.fixture(scope="module")
def alone(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, Any]]:
    """What one process makes of all rows, by LoRA rank."""
    return cache(lambda rank: gradients(1, checkpoint, tmp_path_factory.mktemp("alone") / "one", "", rank))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("kind", ["replicated", "sharded"])
def test_two_processes_update_as_one(
    kind: str, rank: int, checkpoint: Path, alone: Callable[[int], dict[str, Any]], tmp_path: Path
) -> None:
    """DDP and FSDP2, all parameters and LoRA: 7 and 7 rows, 3 and 11, 0 and 4, pictures on one process only."""
    same(alone(rank), gradients(2, checkpoint, tmp_path / "two", kind, rank))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("kind", ["replicated", "sharded"])
def test_processes_may_cut_the_head_into_other_numbers_of_chunks(
    kind: str, rank: int, checkpoint: Path, alone: Callable[[int], dict[str, Any]], tmp_path: Path
) -> None:
    """As a large vocabulary does at nearly every micro-batch: two tokens' logits at once, here of 63 entries."""
    found = gradients(2, checkpoint, tmp_path / "two", kind, rank, CHUNK)
    first, second = (json.loads((tmp_path / "two" / f"chunks-{i}.json").read_text("utf-8")) for i in range(2))
    assert len(first) == len(second) > 4
    assert sum(a != b for a, b in zip(first, second, strict=True)) > 2
    same(alone(rank), found)


def same(one: dict[str, Any], two: dict[str, Any]) -> None:
    """The gradients of all cases, relative to their norms."""
    assert one.keys() == two.keys() == {"equal", "unequal", "none", "no pictures first"}
    for case, expected in one.items():
        assert expected.keys() == two[case].keys()
        assert sum(float(value.norm()) > 0 for value in expected.values()) > 10
        for name, value in expected.items():
            difference = float((two[case][name] - value).norm())
            assert difference <= 1e-5 * max(1.0, float(value.norm())), (case, name)


@pytest.mark.slow
def test_two_processes_are_taught_as_one(checkpoint: Path, tmp_path: Path) -> None:
    """The same losses and gradient norms, in the same number of forward passes on either process.

    Replicated and sharded, also where the processes cut the head into other numbers of chunks.
    """
    sharding = ACCELERATE_CONFIGS / "fsdp.yaml"
    expected = taught(1, checkpoint, tmp_path / "alone", "", 0)[0]["steps"]
    assert [step["step"] for step in expected] == [1.0, 2.0]
    for number, (launching, chunk) in enumerate((("", 0), ("", CHUNK), (sharding, 0), (sharding, CHUNK))):
        first, second = taught(2, checkpoint, tmp_path / str(number), launching, chunk)
        assert first["passes"] == second["passes"]
        if chunk:
            assert len(first["chunks"]) == len(second["chunks"])
            assert sum(a != b for a, b in zip(first["chunks"], second["chunks"], strict=True)) > 0
        for one, two in zip(expected, first["steps"], strict=True):
            assert one["loss"] > 1.0
            assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)
            assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)


def taught(processes: int, checkpoint: Path, output: Path, launching: Path | str, chunk: int) -> list[dict[str, Any]]:
    """What each process saw of two supervised steps."""
    launch(processes, "sft_script", checkpoint, output, launching, chunk)
    return [json.loads((output / f"seen-{rank}.json").read_text(encoding="utf-8")) for rank in range(processes)]


@pytest.mark.slow
def test_torn_checkpoints_are_gone_for_every_process(tmp_path: Path) -> None:
    for name in ("checkpoint-1", "checkpoint-2"):
        (tmp_path / name).mkdir()
    mark_complete(tmp_path / "checkpoint-1", 1, {})
    launch(2, "resume_script", tmp_path)
    seen = [json.loads((tmp_path / f"seen-{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    assert seen == [{"point": "checkpoint-1", "folders": ["checkpoint-1"]}] * 2


@pytest.mark.slow
def test_sharded_training_saves_whole_folders_and_resumes(checkpoint: Path, tmp_path: Path) -> None:
    """Under FSDP2 as the launch file of the 7B profile sets it up: frozen vision, a reference, two processes."""
    launch(2, "sharded_script", checkpoint, tmp_path, ACCELERATE_CONFIGS / "fsdp.yaml")
    start = load_file(checkpoint / "model.safetensors")
    trained, reference = json.loads((tmp_path / "units-0.json").read_text(encoding="utf-8"))
    # The reference is gathered layer by layer as the trained model is; as one unit it would be whole on every process.
    assert max(reference.values()) < sum(reference.values()) / 2
    assert reference == trained
    folders = [tmp_path / name for name in ("checkpoint-1", "kept", "first", "final")]
    early, second, first, again = (load_file(folder / "model.safetensors") for folder in folders)
    for weights in (early, second, first, again):
        assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in start.items()}
    for name, value in start.items():
        frozen = "vision_model" in name or "connector" in name
        assert torch.equal(first[name], value) is (frozen or name.endswith("k_proj.bias")), name
        assert torch.equal(second[name], first[name]), name
        assert torch.equal(again[name], first[name]), name
    for folder in folders:
        AutoModelForImageTextToText.from_pretrained(folder)
