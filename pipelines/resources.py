"""Resources of the asset graph, from values (the command line) or from the environment (Dagster's own processes).

Dagster's processes read VISOR_HOME and what `pipelines.choice` tells of the environment here, once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets_defs.machinery.links import DAGSTER, MLFLOW, links_address
from assets_defs.machinery.tracking import Tracking
from assets_defs.machinery.workspace import Workspace
from pipelines.choice import PROFILES, choice_from
from pipelines.estimates import gpu_hours
from visor_core.config import Home, Profile


def resources_for(home: Home, profile: Profile, rebuild: Sequence[str] = ()) -> dict[str, Any]:
    """The resources of one run; the stages `rebuild` use nothing that they have made before."""
    links = links_address(home)
    return {
        "workspace": fixed(
            Workspace(
                home=str(home.root),
                profile=profile.model_dump_json(),
                rebuild=list(rebuild),
                gpu_hours=gpu_hours(profile),
            )
        ),
        "tracking": fixed(Tracking.of(home, profile, page=f"{links}/{MLFLOW}", dagster_page=f"{links}/{DAGSTER}")),
        "pipes": dg.PipesSubprocessClient(cwd=str(PROFILES.parents[1])),
    }


def fixed(resource: dg.ConfigurableResource[Any]) -> dg.ResourceDefinition:
    """A resource whose values cannot be changed in the launchpad, which would write the whole profile out there."""

    @dg.resource(description=resource.__doc__)
    def held(context: dg.InitResourceContext) -> Iterator[dg.ConfigurableResource[Any]]:
        resource.setup_for_execution(context)
        try:
            yield resource
        finally:
            resource.teardown_after_execution(context)

    return held


def environment() -> tuple[Home, Profile, tuple[str, ...]]:
    """VISOR_HOME, the profile and the stages to be made anew of Dagster's own processes.

    Raises:
        ConfigError: if the profile or a setting is wrong.
    """
    choice = choice_from(os.environ)
    return Home(Path(os.environ.get("VISOR_HOME") or ".visor")), choice.resolve(), choice.rebuild
