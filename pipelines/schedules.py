"""The weekly schedule: what is out of date is made anew, and otherwise nothing. Stopped until it is started."""

import time
from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets_defs.machinery.graph import stages
from assets_defs.machinery.partitions import corpora
from assets_defs.machinery.stage import Node
from assets_defs.machinery.workspace import Workspace
from pipelines.launcher import UNFINISHED, WAITING
from pipelines.outlook import GOAL, look, next_runs
from visor_core.config import Profile

REASON_TAG = "visor/reason"
"""Tag of a run: why it was asked for."""
DAY = 86_400.0
CONFIRMED_AFTER = 0.75
"""Share of `retraining.fresh_days` after which an unchanged champion is confirmed."""


def weekly_retraining(profile: Profile, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """The schedule of a profile for its retraining job, at the times of `retraining.cron`."""

    @dg.schedule(
        name="weekly_retraining",
        job=job,
        cron_schedule=profile.retraining.cron,
        description="Looks whether documents, questions, code or configuration have changed since the champion was"
        " made, and runs what is out of date, corpora first. Says on the champion why it does nothing.",
    )
    def evaluate(context: dg.ScheduleEvaluationContext, workspace: Workspace) -> dg.SkipReason | list[dg.RunRequest]:
        return _evaluate(context, workspace)

    return evaluate


def _evaluate(context: dg.ScheduleEvaluationContext, workspace: Workspace) -> dg.SkipReason | list[dg.RunRequest]:
    profile, instance = workspace.settings, context.instance
    outlook = look(profile, workspace.place)
    runs = next_runs(profile, outlook.due)
    names = {node.stage for nodes in runs.values() for node in nodes}
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=[*UNFINISHED, *WAITING])) if runs else ():
        if run.asset_selection is None or names & {key.to_user_string() for key in run.asset_selection}:
            return _skip(instance, f"run {run.run_id[:8]} is at it: {outlook.reason()}")
    if runs:
        known = set(instance.get_dynamic_partitions(str(corpora.name)))
        instance.add_dynamic_partitions(str(corpora.name), [name for name in runs if name and name not in known])
        moment = context.scheduled_execution_time.isoformat()
        return [_request(moment, partition, nodes, outlook.due) for partition, nodes in runs.items()]
    if not outlook.held and _age(instance) > CONFIRMED_AFTER * DAY * profile.retraining.fresh_days:
        goal = Node(GOAL)
        moment = context.scheduled_execution_time.isoformat()
        return [_request(moment, "", [goal], {goal: f"confirmed: {outlook.reason()}"})]
    return _skip(instance, outlook.reason())


def _request(moment: str, partition: str, nodes: list[Node], due: Mapping[Node, str]) -> dg.RunRequest:
    """The run of some nodes of one corpus, or of those that have none."""
    names = [name for node in nodes for name in (node.stage, *stages()[node.stage].also)]
    reason = "; ".join(f"{node}: {due[node]}" for node in nodes)
    return dg.RunRequest(
        run_key=f"{moment} {partition}".strip(),
        asset_selection=[dg.AssetKey(name) for name in names],
        partition_key=partition or None,
        tags={REASON_TAG: reason[:400]},
    )


def _skip(instance: dg.DagsterInstance, reason: str) -> dg.SkipReason:
    """Nothing is run; the champion says why."""
    metadata = {"retraining": f"nothing was run: {reason}"}
    instance.report_runless_asset_event(dg.AssetObservation(GOAL, metadata=metadata))
    return dg.SkipReason(reason)


def _age(instance: dg.DagsterInstance) -> float:
    """Seconds since the champion was materialized last."""
    event = instance.get_latest_materialization_event(dg.AssetKey(GOAL))
    return time.time() - event.timestamp if event else float("inf")
