"""Jobs: named selections of the asset graph."""

import dagster as dg

from assets_defs.machinery.assets import CHECK_JOB
from assets_defs.machinery.builds import Builds
from assets_defs.machinery.graph import stages
from assets_defs.machinery.judging import Finished, checks_of
from assets_defs.machinery.partitions import corpora
from assets_defs.machinery.stage import Node
from assets_defs.machinery.workspace import Workspace

ingest_job = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets("documents", "pages", "page_index"),
    description="Read, rasterise and index one corpus.",
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


retrain_job = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets(
        "teacher_trajectories",
        "sft_dataset",
        "sft_checkpoint",
        "grpo_checkpoint",
        "grpo_rollouts",
        "benchmark_results",
        "champion_model",
    ),
    description="Teacher to champion. A stage whose inputs, code and settings are unchanged reuses what it has made.",
)
