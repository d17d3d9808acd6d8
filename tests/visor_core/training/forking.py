"""Scripts run in processes of their own that are forked from one which has imported what training needs.

Importing PyTorch, Transformers, TRL and LanceDB costs ten seconds of a core, many times what a tiny stage takes; the
server of `multiprocessing` pays them once for all scripts of a test process.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from torch.distributed import TCPStore

IMPORTS = (
    "visor_core.training.grpo",
    "visor_core.training.sft",
    "visor_core.trajectories.playing",
    "visor_core.index",
    "dagster_pipes",
)
"""None of them computes anything, starts a process or touches a GPU."""


def start(
    module: str, arguments: Sequence[object], log: Path, environment: Mapping[str, str] = {}
) -> ForkServerProcess:
    """`python -m module arguments…` with these variables set; what it prints goes to the end of `log`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTS))
    log.touch()
    words = (module, [str(argument) for argument in arguments], log, dict(environment))
    process = context.Process(target=_run, args=words, daemon=True)
    process.start()
    return process


def run(module: str, arguments: Sequence[object], processes: int, seconds: float) -> None:
    """The same in all processes of one `torch.distributed` job on the CPU, until they have ended.

    Raises:
        AssertionError: if one of them fails or takes longer than `seconds`.
    """
    # As torchrun does it, the parent keeps the store, on a port that is free.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "ACCELERATE_USE_CPU": "true",
    }
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"{rank}.log" for rank in range(processes)]
        ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
        started = [start(module, arguments, log, shared | rank) for log, rank in zip(logs, ranks, strict=True)]
        deadline = time.monotonic() + seconds
        for process in started:
            process.join(max(0.0, deadline - time.monotonic()))
        ends = [process.exitcode for process in started]
        for process in started:
            process.kill()
        assert ends == [0] * processes, "\n".join(log.read_text(encoding="utf-8")[-4000:] for log in logs)


def _run(module: str, arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    """In the new process."""
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), sys.stdout.fileno())
        os.dup2(stream.fileno(), sys.stderr.fileno())
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")
