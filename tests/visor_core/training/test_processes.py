"""Two processes give the update of one: `accelerate launch` on the CPU with equal and unequal numbers of rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]


def launch(
    processes: int, checkpoint: Path, output: Path, kind: str = "replicated", rank: int = 0
) -> dict[str, dict[str, torch.Tensor]]:
    """Run the update script on some processes; gradients by case."""
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes),
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
        "--num_cpu_threads_per_process", "1",
        "-m", "tests.visor_core.training.update_script", str(checkpoint), str(output), kind, str(rank),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return torch.load(output / "gradients.pt")  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rank"), [("replicated", 0), ("replicated", 2), ("sharded", 0), ("sharded", 2)], ids=str
)
def test_two_processes_update_as_one(kind: str, rank: int, checkpoint: Path, tmp_path: Path) -> None:
    """DDP and FSDP2, all parameters and LoRA: equal and unequal shares of the rows, pictures on one process only."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = launch(1, checkpoint, tmp_path / "one", kind, rank)
    two = launch(2, checkpoint, tmp_path / "two", kind, rank)
    assert one.keys() == two.keys() == {"equal", "unequal", "no pictures last"}
    for case, expected in one.items():
        assert expected.keys() == two[case].keys()
        assert sum(float(value.norm()) > 0 for value in expected.values()) > 10
        for name, value in expected.items():
            difference = float((two[case][name] - value).norm())
            assert difference <= 1e-5 * max(1.0, float(value.norm())), (case, name)
