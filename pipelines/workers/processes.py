"""A training worker in several processes on the processor, by `python -m pipelines.workers.processes N MODULE ORDER`.

`accelerate launch` leaves that case to MPI and starts one process. The processes meet over a file and exchange
gradients over the loopback interface, so nothing listens on a network. If one fails or the launcher goes, all end.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from pipelines.workers.session import die_with, die_with_order


def main() -> None:
    """Start the processes and wait for them; an exception in one ends the others and this one."""
    from torch.multiprocessing import start_processes

    count, module, order = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    # Stopping must not wait for the processes: they wait for each other, and end when this one is gone.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_order()
    with tempfile.TemporaryDirectory() as folder:
        arguments = (count, module, order, str(Path(folder) / "meeting"), os.getpid())
        start_processes(_process, arguments, nprocs=count, start_method="spawn")


def _process(rank: int, count: int, module: str, order: str, meeting: str, launcher: int) -> None:
    """One of the processes, known to accelerate by the variables that a launcher sets."""
    die_with(launcher)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(count),
        LOCAL_WORLD_SIZE=str(count),
        GLOO_SOCKET_IFNAME=next(name for _, name in socket.if_nameindex() if name.startswith("lo")),
    )
    import torch.distributed as dist
    from accelerate import PartialState

    dist.init_process_group("gloo", store=dist.FileStore(meeting, count), rank=rank, world_size=count)
    PartialState(cpu=True)
    sys.argv = [module, order]
    importlib.import_module(module).main()
    # A process that is still needed would be missed by the others' last exchange.
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
