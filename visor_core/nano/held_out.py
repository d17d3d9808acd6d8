"""The test split of the nano world, behind a door: only the final study reads it, and every reading is logged.

`write_world` refuses the split `test` without a `HeldOutReading`, and a test of the architecture fails if any module
but the study makes one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

LOG_NAME = "test_split_readings.jsonl"


@dataclass(frozen=True, slots=True)
class HeldOutReading:
    """Leave to read the test split once; made by `log_reading` only."""

    purpose: str
    log: Path


def log_reading(folder: Path, purpose: str) -> HeldOutReading:
    """Write down that the test split is about to be read, then allow it.

    Args:
        folder: where the log lies; it only ever grows.
        purpose: what the reading is for, with seed and settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG_NAME
    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), "purpose": purpose}, sort_keys=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    return HeldOutReading(purpose, log)


def readings(folder: Path) -> list[dict[str, str]]:
    """All readings so far, oldest first."""
    log = folder / LOG_NAME
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
