"""Resources of the asset graph, from values (the command line) or from the environment (Dagster's own processes).

Dagster's webserver and daemon read VISOR_HOME, VISOR_PROFILE and VISOR_SET (a JSON map of dotted keys, or
`key=value,key=value`) here, once.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from assets_defs.machinery.tracking import Tracking
from assets_defs.machinery.workspace import Workspace
from visor_core.config import Home, Profile, load_profile
from visor_core.errors import ConfigError

ADDRESS = "127.0.0.1"
"""Pages are served on this machine alone."""
DAGSTER_PAGE = os.environ.get("VISOR_DAGSTER_PAGE", f"http://{ADDRESS}:3000")
MLFLOW_PAGE = os.environ.get("VISOR_MLFLOW_PAGE", f"http://{ADDRESS}:5000")
"""Where the pages are looked at, for links: `visor ui` says it to the processes it starts."""
PROFILES = Path(__file__).resolve().parent / "profiles"


def resources_for(home: Home, profile: Profile, *, rebuild: bool = False) -> dict[str, Any]:
    """The resources of one run."""
    return {
        "workspace": Workspace(home=str(home.root), profile=profile.model_dump_json(), rebuild=rebuild),
        "tracking": Tracking.of(home, profile, page=MLFLOW_PAGE, dagster_page=DAGSTER_PAGE),
        "pipes": dg.PipesSubprocessClient(cwd=str(PROFILES.parents[1])),
    }


def environment() -> tuple[Home, Profile]:
    """VISOR_HOME and the profile of Dagster's own processes.

    Raises:
        ConfigError: if the profile or a setting is wrong.
    """
    name = os.environ.get("VISOR_PROFILE", "nano")
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    overrides = settings_of(os.environ.get("VISOR_SET", ""))
    return Home(Path(os.environ.get("VISOR_HOME") or ".visor")), load_profile(path, overrides)


def settings_of(text: str) -> dict[str, Any]:
    """What VISOR_SET says, by dotted key.

    Raises:
        ConfigError: if it is neither JSON nor of the form key=value.
    """
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise ConfigError(f"VISOR_SET is no JSON: {error}") from error
    found: dict[str, Any] = {}
    for setting in filter(None, text.split(",")):
        key, separator, value = setting.partition("=")
        if not separator:
            raise ConfigError(f"VISOR_SET: {setting!r} is not of the form section.key=value")
        found[key] = yaml.safe_load(value)
    return found
