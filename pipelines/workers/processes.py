"""A training worker in several processes on the processor, by `python -m pipelines.workers.processes N MODULE ORDER`.

`accelerate launch` leaves that case to MPI and starts one process. The processes meet over a file and exchange
gradients over the loopback interface, so nothing listens on a network. If one fails or the launcher goes, all end. The
others then fail for want of the one that failed: what is told at the end is why the first did.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path

from pipelines.tied import die_with
from pipelines.workers.session import die_with_order

CAUSE = "cause"
"""The file in which the process that fails first says why."""


def main() -> None:
    """Start the processes and wait for them; if one fails the others end, and this one with status 1 and the cause."""
    from torch.multiprocessing.spawn import ProcessException, start_processes

    count, module, order = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    # Stopping must not wait for the processes: they wait for each other, and end when this one is gone.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_order()
    with tempfile.TemporaryDirectory() as folder:
        cause = Path(folder) / CAUSE
        arguments = (count, module, order, Path(folder), os.getpid())
        processes = start_processes(_process, arguments, nprocs=count, join=False, start_method="spawn")
        try:
            while not processes.join():
                pass
        except ProcessException as error:
            # The exception is that of the process seen to end first, which need not be the one that failed first.
            told = [cause.read_text(encoding="utf-8")] if cause.is_file() else []
            for rank, process in enumerate(processes.processes):
                code = process.exitcode
                # SIGTERM is what clears up those that are left.
                if code is not None and code < 0 and -code != signal.SIGTERM:
                    told.append(f"process {rank} was ended by {signal.Signals(-code).name}")
            sys.exit("\n".join(told) or str(error))


def _process(rank: int, count: int, module: str, order: str, folder: Path, launcher: int) -> None:
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

    try:
        meeting = dist.FileStore(str(folder / "meeting"), count)
        dist.init_process_group("gloo", store=meeting, rank=rank, world_size=count)
        PartialState(cpu=True)
        sys.argv = [module, order]
        importlib.import_module(module).main()
        # A process that is still needed would be missed by the others' last exchange.
        dist.barrier()
    except BaseException:
        # Before this process lets go of the others: so the one that failed first is the one that writes.
        with suppress(FileExistsError), (folder / CAUSE).open("x", encoding="utf-8") as file:
            file.write(traceback.format_exc())
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


if __name__ == "__main__":
    main()
