"""Resources of the asset graph, from values (the command line) or from the environment (Dagster's own processes).

Dagster's webserver and daemon read VISOR_HOME, VISOR_PROFILE and VISOR_SET (`key=value,key=value`) here, once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from assets_defs.machinery.tracking import Tracking
from assets_defs.machinery.workspace import Workspace
from visor_core.config import Home, Profile, load_profile
from visor_core.errors import ConfigError

PROFILES = Path(__file__).resolve().parent / "profiles"


def resources_for(home: Home, profile: Profile, *, rebuild: bool = False) -> dict[str, Any]:
    """The resources of one run."""
    return {
        "workspace": Workspace(home=str(home.root), profile=profile.model_dump_json(), rebuild=rebuild),
        "tracking": Tracking.of(home, profile),
        "pipes": dg.PipesSubprocessClient(cwd=str(PROFILES.parents[1])),
    }


def environment() -> tuple[Home, Profile]:
    """VISOR_HOME and the profile of Dagster's own processes.

    Raises:
        ConfigError: if the profile or a setting is wrong.
    """
    name = os.environ.get("VISOR_PROFILE", "nano")
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    overrides: dict[str, Any] = {}
    for setting in filter(None, os.environ.get("VISOR_SET", "").split(",")):
        key, separator, value = setting.partition("=")
        if not separator:
            raise ConfigError(f"VISOR_SET: {setting!r} is not of the form section.key=value")
        overrides[key] = yaml.safe_load(value)
    return Home(Path(os.environ.get("VISOR_HOME") or ".visor")), load_profile(path, overrides)
