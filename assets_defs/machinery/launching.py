"""On which devices a profile trains: the files of `accelerate launch` in infra/accelerate/, and what they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from visor_core.config import Profile
from visor_core.errors import ConfigError

ACCELERATE_CONFIGS = Path(__file__).resolve().parents[2] / "infra" / "accelerate"


@dataclass(frozen=True, slots=True)
class Launch:
    """Processes of one machine, a GPU each unless `cpu`, and over how many of them the weights are sharded."""

    processes: int
    shards: int
    cpu: bool = False


def accelerate_config(profile: Profile) -> Path:
    """The file that says on which devices a profile trains.

    Raises:
        ConfigError: if there is none of that name.
    """
    path = ACCELERATE_CONFIGS / Path(profile.accelerate).expanduser()
    if not path.is_file():
        known = ", ".join(sorted(p.name for p in ACCELERATE_CONFIGS.glob("*.yaml")))
        raise ConfigError(f"accelerate: no file {path}; choose one of {known}, or give a path")
    return path


def launch_settings(profile: Profile) -> dict[str, Any]:
    """What a profile's launch file says: its content decides what is trained, not its name.

    Raises:
        ConfigError: if the file is absent or no mapping.
    """
    path = accelerate_config(profile)
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"accelerate: {path} is no launch file of accelerate: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(given, dict):
        raise ConfigError(f"accelerate: {path} is no launch file of accelerate: it holds no settings")
    return given


def launch_of(profile: Profile) -> Launch:
    """What a profile's file asks for on each machine.

    Raises:
        ConfigError: if the file is absent or does not say it.
    """
    given = launch_settings(profile)
    try:
        processes = int(given.get("num_processes", 1))
        here = max(1, processes // int(given.get("num_machines", 1)))
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(
            f"accelerate: {accelerate_config(profile)} is no launch file of accelerate: {error}"
        ) from error
    return Launch(here, processes if given.get("distributed_type") == "FSDP" else 1, bool(given.get("use_cpu")))


def launcher(profile: Profile, launch: Launch) -> list[str]:
    """Arguments of Python that go before a training worker's module and order."""
    if launch.cpu and launch.processes > 1:
        return ["-m", "pipelines.workers.processes", str(launch.processes)]
    return ["-m", "accelerate.commands.launch", "--config_file", str(accelerate_config(profile)), "-m"]
