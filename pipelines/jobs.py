"""Jobs: named selections of the asset graph, checks included: builds are put in force by them."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets_defs.machinery.assets import CHECK_JOB
from assets_defs.machinery.builds import Builds
from assets_defs.machinery.graph import stages
from assets_defs.machinery.judging import Finished, checks_of
from assets_defs.machinery.partitions import corpora
from assets_defs.machinery.stage import Node
from assets_defs.machinery.workspace import Workspace
from visor_core.config import Profile

ingest_job = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets("documents", "pages", "page_index", "questions"),
    description="Read, rasterise and index one corpus, and read its questions.",
)


@dg.op(description="Make each check of each build of the corpus again.")
def check_builds(context: dg.OpExecutionContext, workspace: Workspace) -> None:
    """Make the checks of a corpus again as they look at what is built now, and tell them to its assets.

    Raises:
        dg.Failure: naming the blocking checks that failed: their builds are out of force.
    """
    profile, home, corpus = workspace.settings, workspace.place, context.partition_key
    failed = []
    for stage in stages().values():
        node = Node(stage.name, corpus) if stage.partitioned else None
        if node is None or Builds(home, profile).built(node) is None:
            continue
        for judgement in checks_of(stage.name):
            result = judgement(Finished(node, profile, home))
            context.log.info(f"{node}: {judgement.name} {'passed' if result.passed else 'failed'}")
            context.log_event(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey(judgement.asset),
                    check_name=judgement.name,
                    passed=bool(result.passed),
                    metadata=result.metadata,
                    severity=result.severity,
                    description=result.description,
                    blocking=judgement.blocking,
                    partition=corpus,
                )
            )
            if judgement.blocking and not result.passed:
                failed.append(f"{node}: {judgement.name}")
    if failed:
        raise dg.Failure(f"not in force: {', '.join(failed)}")


@dg.job(
    name=CHECK_JOB,
    partitions_def=corpora,
    description="Make all checks of one corpus again, as they look at what is built now; builds nothing.",
)
def check_job() -> None:
    check_builds()


def retrain_job(profile: Profile) -> UnresolvedAssetJobDefinition:
    """The whole chain of a profile, from documents to champion."""
    names = [name for stage in stages().values() if stage.applies(profile) for name in (stage.name, *stage.also)]
    return dg.define_asset_job(
        "retrain",
        selection=dg.AssetSelection.assets(*names),
        description="The whole chain, from documents to champion. What is unchanged reuses what it has made.",
    )
