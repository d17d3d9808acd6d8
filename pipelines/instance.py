"""Dagster's instance under VISOR_HOME: the one place that puts `dagster.yaml` there and opens it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from visor_core.config import Home
from visor_core.errors import ConfigError
from visor_core.files import whole_file
from visor_core.tracking import silence

if TYPE_CHECKING:
    import dagster as dg

TEMPLATE = Path(__file__).resolve().parents[1] / "dagster.yaml"


def place_instance(home: Home) -> Path:
    """Make VISOR_HOME/dagster with the project's `dagster.yaml`; returns the folder.

    Raises:
        ConfigError: if the template is missing or the folder cannot be written.
    """
    if not TEMPLATE.is_file():
        raise ConfigError(f"{TEMPLATE.name} is missing from the project folder: install visor from its repository")
    wanted = TEMPLATE.read_bytes()
    target = home.dagster / "dagster.yaml"
    try:
        home.dagster.mkdir(parents=True, exist_ok=True)
        if not target.is_file() or target.read_bytes() != wanted:
            with whole_file(target) as partial:
                partial.write_bytes(wanted)
    except OSError as error:
        raise ConfigError(f"VISOR_HOME {home.root} cannot be written: {error.strerror or error}") from error
    return home.dagster


def prepare_process() -> None:
    """Set what child processes and libraries read from the environment; called once at the edge of a process."""
    silence()
    # Dagster warns about its own call of its own preview function when a Pipes session ends (dagster 1.13).
    warnings.filterwarnings("ignore", message=".*expected_writer_count.*")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def open_instance(home: Home) -> dg.DagsterInstance:
    """The instance for runs in this process; their output is not captured, so that a live display stays whole."""
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    folder = place_instance(home)
    uncaptured = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), overrides={"compute_logs": uncaptured}))
