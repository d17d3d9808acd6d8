"""A worker for the test of `pipelines.workers.processes`: all processes add up their ranks, or one of them fails."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import PartialState


def main() -> None:
    """Write what the processes made together; ordered to `fail` or `die`, rank 1 does not come to the exchange."""
    state, order = PartialState(), Path(sys.argv[1])
    if order.name == "fail" and state.process_index == 1:
        atexit.register(_linger)
        raise ValueError("this one fails")
    if order.name == "die" and state.process_index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if order.name == "wait":
        order.with_name(f"pid-{state.process_index}").write_text(str(os.getpid()), encoding="utf-8")
        time.sleep(600)
    total = torch.tensor(float(state.process_index + 1))
    dist.all_reduce(total)
    text = f"{state.distributed_type} {state.num_processes} {total.item()}"
    order.with_name(f"rank-{state.process_index}").write_text(text, encoding="utf-8")


def _linger() -> None:
    """Let go of the other process and stay, so that it fails in its turn and is gone first."""
    if dist.is_initialized():
        dist.destroy_process_group()
    time.sleep(2)
