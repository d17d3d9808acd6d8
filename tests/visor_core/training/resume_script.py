"""The resume point as each process finds it, the main one being late; what then lies in the folder is saved."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from accelerate import PartialState

from visor_core.training.checkpoints import resume_point


def main(output: Path) -> None:
    """Write what this process is given and sees."""
    state = PartialState(cpu=True)
    if state.is_main_process:
        time.sleep(1.0)
    point = resume_point(output)
    seen = {"point": point.name if point else "", "folders": sorted(p.name for p in output.glob("checkpoint-*"))}
    (output / f"seen-{state.process_index}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
