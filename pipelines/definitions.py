"""Everything Dagster knows of the project: loads and merges, nothing else."""

from __future__ import annotations

from typing import Any

import dagster as dg

import assets_defs
from pipelines import jobs, schedules, sensors
from pipelines.resources import resources_from_environment


def definitions(resources: dict[str, Any]) -> dg.Definitions:
    """The asset graph with these resources. Steps of a run share its process; long ones start their own."""
    return dg.Definitions(
        assets=dg.load_assets_from_package_module(assets_defs),
        asset_checks=dg.load_asset_checks_from_package_module(assets_defs),
        jobs=[jobs.ingest_job, jobs.retrain_job],
        schedules=[schedules.weekly_retraining],
        sensors=[sensors.inbox],
        resources=resources,
        executor=dg.in_process_executor,
    )


defs = definitions(resources_from_environment())
