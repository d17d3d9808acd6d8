"""Schedules: retraining once a week, while the machine is quiet. Stopped until someone starts it."""

from __future__ import annotations

import dagster as dg

from pipelines.jobs import retrain_job

weekly_retraining = dg.ScheduleDefinition(
    name="weekly_retraining",
    job=retrain_job,
    cron_schedule="0 3 * * 0",
    description="Sundays at 03:00: teacher to champion; unchanged stages are reused.",
)
