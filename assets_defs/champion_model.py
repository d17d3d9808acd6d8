"""Asset `champion_model`: the checkpoint with the highest supported success, under the alias `champion` in MLflow.

The reigning champion is replaced only by one that does at least as well on the same questions.
"""

from pathlib import Path

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.stage import Need, Node, Stage
from assets_defs.machinery.workspace import Work
from visor_core.config.policies import REINFORCED, TRAINED
from visor_core.tracking import RUN_FILE, logged_model, project_name

STAGE = Stage(
    name="champion_model",
    begins=("assets_defs.champion_model", "visor_core.tracking"),
    settings=lambda profile, partition: {"name": profile.name},
    needs=(*(Need(policy.stage) for policy in TRAINED), Need("benchmark_results")),
)


def registered_name(profile: str) -> str:
    """Name of the registered model of a profile."""
    return project_name(profile)


@asset(STAGE, group="evaluation", kinds={"mlflow"})
def champion_model(work: Work) -> dg.MaterializeResult[None]:
    """The model to use: the better of warm start and reinforced policy, as the registered model's version `champion`.

    `visor ask` and `models:/visor-<profile>@champion` of MLflow take this one. It is replaced only by one that does at
    least as well on the same questions.
    """
    if not work.complete:
        _crown(work)
    record = work.input("benchmark_results")
    return work.result({"benchmark": dg.MetadataValue.json(record.figures)})


def _crown(work: Work) -> None:
    tracker = work.tracking.tracker()
    benchmark = work.input("benchmark_results")
    scores = {policy.stage: float(benchmark.figures[policy.figure("supported")]) for policy in TRAINED}
    best = max(scores, key=lambda name: (scores[name], name == REINFORCED.stage))
    questions = benchmark.upstream[str(Node("questions", work.profile.corpora.development))]
    name = registered_name(work.profile.name)
    reigning = tracker.champion(name)
    folder, score, version, stage = work.input_folder(best), scores[best], 0, best
    build = work.input(best).build_folder(work.home)
    run_id, model_id = (build / RUN_FILE).read_text(encoding="utf-8"), logged_model(build)
    tags = {"supported": f"{score:.6f}", "questions_version": questions, "stage": best}
    tracker.propose(name, folder, run_id=run_id, model_id=model_id, tags=tags)
    if (
        reigning
        and reigning["questions_version"] == questions
        and float(reigning["supported"]) > score
        and Path(reigning["folder"]).is_dir()
    ):
        folder, score = Path(reigning["folder"]), float(reigning["supported"])
        version, stage = int(reigning["version"]), reigning["stage"]
    else:
        version = tracker.promote(name, folder, run_id=run_id, model_id=model_id, tags=tags)
    digest = work.input(stage).data_version
    figures = {"champion": stage, "supported": score, "registry_version": version}
    work.finish(digest, figures, path=folder, index_tag=benchmark.index_tag)


@check(STAGE, blocking=True)
def the_alias_names_a_usable_checkpoint(build: Finished) -> dg.AssetCheckResult:
    """The registry's alias points at a folder with a model, the one this asset put in force."""
    from visor_core.policies.load import require_checkpoint

    found = build.tracker.champion(registered_name(build.profile.name))
    folder = build.folder
    require_checkpoint(folder)
    agrees = found is not None and Path(found["folder"]) == folder
    return dg.AssetCheckResult(
        passed=agrees, metadata={"registry": found["folder"] if found else "none", "asset": str(folder)}
    )
