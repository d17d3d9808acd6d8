"""A run that waits: `python -m tests.pipelines.waiting_run HOME` prints its id once Dagster knows its process."""

import os
import sys
import time
from pathlib import Path

import dagster as dg

from pipelines.instance import open_instance
from pipelines.launcher import state_worker
from visor_core.config import Home


@dg.op
def wait(context: dg.OpExecutionContext) -> None:
    state_worker(context.instance, context.run, os.getpid())
    print(context.run_id, flush=True)
    time.sleep(120)


@dg.job(executor_def=dg.in_process_executor)
def waiting() -> None:
    wait()


if __name__ == "__main__":
    with open_instance(Home(Path(sys.argv[1]))) as instance:
        waiting.execute_in_process(instance=instance)
