"""Everything Dagster knows of the project: loads and merges, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from assets_defs.machinery.assets import definitions_of
from assets_defs.machinery.graph import stages
from assets_defs.study import study_assets
from pipelines import automation, jobs, schedules, sensors
from pipelines.resources import environment, resources_for
from visor_core.config import Home, Profile


def definitions(home: Home, profile: Profile, rebuild: Sequence[str] = ()) -> dg.Definitions:
    """The asset graph of a profile. Steps of a run share its process; long ones start their own.

    Args:
        rebuild: stages that discard what they have already made.
    """
    retrain = jobs.retrain_job(profile)
    assets, checks = definitions_of(list(stages().values()), profile)
    retrain = jobs.retrain_job(profile)
    return dg.Definitions(
        assets=[*automation.automated(assets, profile), *study_assets(profile)],
        asset_checks=checks,
        jobs=[jobs.ingest_job, jobs.check_job, retrain],
        schedules=[schedules.weekly_retraining(profile, retrain)],
        sensors=[sensors.inbox, sensors.regression, automation.retrain_when_changed],
        resources=resources_for(home, profile, rebuild),
        executor=dg.in_process_executor,
    )


defs = definitions(*environment())
