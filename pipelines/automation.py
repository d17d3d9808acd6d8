"""Declarative automation: what an asset waits for before Dagster asks for it by itself, and how fresh results must be.

A condition is true once documents, questions, code or configuration have changed: code and configuration are an
asset's code version, documents and questions arrive as changed data versions of its dependencies. A dependency that
was made again and came out the same changes nothing. Off until the sensor is switched on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from visor_core.config import Profile

RETRAINED = ("benchmark_results", "champion_model")
"""What has to be looked after: the results that people use."""


def changed(*, partitioned: bool) -> dg.AutomationCondition[dg.AssetKey]:
    """Something that decides an asset has changed, and everything it needs is in force.

    What was never made is made, but for corpora: theirs come with the first document or with the world.
    """
    condition = dg.AutomationCondition
    # The first half looks at the corpora that are read alone; the second, by itself, would look at all there are.
    there = ~(condition.missing() & ~condition.will_be_requested())
    inputs = condition.any_deps_match(there & (condition.data_version_changed() | condition.will_be_requested()))
    # Not where the making failed: it would be asked for at every look.
    unmade = condition.missing() & ~condition.execution_failed()
    return (
        (
            condition.code_version_changed().with_label("its code or configuration changed")
            | inputs.with_label("the content of something upstream changed, or will be made anew")
            | (condition.missing().newly_true() if partitioned else unmade).with_label("it is missing")
        )
        .since_last_handled()
        .with_label("changed since it was made")
        & ~condition.any_deps_missing()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
        & condition.all_deps_blocking_checks_passed()
    ).with_label("documents, questions, code or configuration changed")


def automated(assets: Sequence[dg.AssetsDefinition], profile: Profile) -> list[dg.AssetsDefinition]:
    """The assets of a profile with their conditions, and with freshness policies where results must be looked after."""
    window = timedelta(days=profile.retraining.fresh_days)
    policy = dg.FreshnessPolicy.time_window(fail_window=2 * window, warn_window=window)

    def conditioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        given = {"freshness_policy": policy} if spec.key.to_user_string() in RETRAINED else {}
        condition = changed(partitioned=spec.partitions_def is not None)
        return spec.replace_attributes(automation_condition=condition, **given)

    return [asset.map_asset_specs(conditioned) for asset in assets]


retrain_when_changed = dg.AutomationConditionSensorDefinition(
    "retrain_when_changed",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=30,
    description="Asks for what is out of date as soon as documents, questions, code or configuration have changed.",
)
