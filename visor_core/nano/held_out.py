"""The test split of the nano world, behind one door: only the final study reads it, and every reading is logged.

`write_world` does not know the split. Its documents come from a range of seeds that is written down here alone, and
`write_test_world` asks for the `FinalStudy` that reads. Tests of the architecture fail if any module but the study
imports this one, or if any but the world and this one draws documents from a range.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from visor_core.config import NanoConfig
from visor_core.errors import ConfigError
from visor_core.nano.world import RANGE, World, write_corpora

LOG_NAME = "test_split_readings.jsonl"
_FIRST = 2 * RANGE


@dataclass(frozen=True, slots=True)
class FinalStudy:
    """Who reads: the folder of the final study, where the log of readings lies, and the commit of its code."""

    folder: Path
    commit: str


def write_test_world(study: FinalStudy, folder: Path, config: NanoConfig, seed: int, purpose: str) -> World:
    """Log a reading, then write the test split as `write_world` does the others.

    Args:
        folder: where the PDFs lie.
        purpose: what the reading is for.

    Raises:
        ConfigError: if it is not the final study that reads, or as `write_world`.
    """
    if not isinstance(study, FinalStudy):
        raise ConfigError("the test split is read by `visor nano study --final` only, and every reading is logged")
    study.folder.mkdir(parents=True, exist_ok=True)
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "commit": study.commit, "purpose": purpose}
    with (study.folder / LOG_NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "seed": seed}, sort_keys=True) + "\n")
    return write_corpora(folder, "test", _FIRST, config.test_corpora, config, seed)


def readings(folder: Path) -> list[dict[str, Any]]:
    """All readings so far, oldest first."""
    log = folder / LOG_NAME
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
