"""Sensors: what is put into an inbox is ingested; who asked for it is told when the benchmark falls. Off at first."""

import json

import dagster as dg

from assets_defs.benchmark_results import FALL, the_benchmark_did_not_fall
from assets_defs.machinery.builds import Builds, outcomes_of, verdict
from assets_defs.machinery.inbox import corpora_with_inbox, inbox_root, inbox_state, settles
from assets_defs.machinery.partitions import corpora
from assets_defs.machinery.stage import Node
from assets_defs.machinery.workspace import Workspace
from pipelines.jobs import ingest_job
from pipelines.message import send
from visor_core.config import Home
from visor_core.index.corpus_settings import is_synthetic

CORPUS_TAG, STATE_TAG = "visor/inbox", "visor/inbox_state"
"""Tags of a run: whose inbox it reads, and the state of that inbox when it was asked for."""


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=30,
    description="Watches VISOR_HOME/inbox/<corpus>/ and <corpus>.questions.parquet: new, changed and deleted files"
    " change the corpus of that name, under its own settings.",
)
def inbox(context: dg.SensorEvaluationContext, workspace: Workspace) -> dg.SensorResult | dg.SkipReason:
    """One run for every corpus whose inbox is not as it was when the newest run was asked for.

    What was asked for stands in the runs themselves and nowhere else: a look that is cut off loses nothing, and a
    folder that is again as it once was is read again.
    """
    home, profile = workspace.place, workspace.settings
    found, refused = corpora_with_inbox(home)
    for why in refused:
        context.log.warning(why)
    states: dict[str, str] = {}
    for name in found:
        if is_synthetic(profile, name):
            context.log.warning(f"the inbox of {name} is left alone: the profile makes that corpus itself")
        elif settles(home, name, profile.retraining.settle_seconds):
            context.log.info(f"the inbox of {name} is changing: it is read when it has come to rest")
        elif (state := inbox_state(home, name)) != _asked(context.instance, name):
            states[name] = state
    if not states:
        return dg.SkipReason(f"nothing new under {inbox_root(home)}")
    known = set(context.instance.get_dynamic_partitions(str(corpora.name)))
    fresh = [name for name in states if name not in known]
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(partition_key=name, tags={CORPUS_TAG: name, STATE_TAG: state})
            for name, state in states.items()
        ],
        dynamic_partitions_requests=[corpora.build_add_request(fresh)] if fresh else [],
    )


def _asked(instance: dg.DagsterInstance, corpus: str) -> str:
    """The state of an inbox that the newest run was asked for; "" if there was none."""
    newest = instance.get_runs(filters=dg.RunsFilter(tags={CORPUS_TAG: corpus}), limit=1)
    return newest[0].tags[STATE_TAG] if newest else ""


@dg.sensor(
    minimum_interval_seconds=60,
    description="Looks whether the newest benchmark fell beyond its interval, and sends the message that"
    " retraining.message_command and retraining.message_url ask for, once a benchmark.",
)
def regression(context: dg.SensorEvaluationContext, workspace: Workspace) -> dg.SensorResult | dg.SkipReason:
    """Tell once of every benchmark that failed its check against the one before."""
    home, profile = workspace.place, workspace.settings
    record = Builds(home, profile).built(Node("benchmark_results"))
    if record is None:
        return dg.SkipReason("there is no benchmark of these settings")
    this = f"{record.fingerprint} {record.data_version}"
    if verdict(outcomes_of(home, record), the_benchmark_did_not_fall.__name__, record, None) is not False:
        return dg.SkipReason(f"the benchmark {record.fingerprint} did not fall")
    if context.cursor == this:
        return dg.SkipReason(f"the fall of benchmark {record.fingerprint} has been told")
    told = send(_message(home, profile.name, record.fingerprint), profile.retraining)
    context.log.warning(f"the benchmark {record.fingerprint} fell; told: {', '.join(told) or 'nobody'}")
    return dg.SensorResult(cursor=this, skip_reason=f"told {', '.join(told) or 'nobody'} of the fall")


def _message(home: Home, profile: str, fingerprint: str) -> dict[str, object]:
    """What is sent: a line for a person as `text`, and the comparison that the check made."""
    fall = json.loads((home.asset("benchmark_results") / fingerprint / FALL).read_text(encoding="utf-8"))
    lines = "; ".join(f"{name} {told}" for name, told in fall["fell"].items())
    return {
        "text": f"visor: the benchmark of profile {profile} fell: {lines}",
        "profile": profile,
        "benchmark": fingerprint,
        **fall,
    }
