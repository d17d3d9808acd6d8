"""Asset `retriever`: a late-interaction page retriever on the base model's vision tower, where page text is damaged."""

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.pictures import curve
from assets_defs.machinery.progress import read_metrics
from assets_defs.machinery.stage import Need, Stage
from assets_defs.machinery.training_process import fell, finish_training, run_worker
from assets_defs.machinery.workspace import Work

STAGE = Stage(
    name="retriever",
    begins=("assets_defs.retriever", "pipelines.workers.retriever"),
    reads=("threads", "nano.retriever_steps"),
    settings=lambda profile, partition: {
        "steps": profile.nano.retriever_steps if profile.nano else 0,
        "threads": profile.threads,
    },
    needs=(Need("nano_corpus"), Need("base_model")),
    applies=lambda profile: profile.nano is not None,
)


@asset(STAGE, group="nano", kinds={"torch", "huggingface"}, pool="accelerator")
def retriever(work: Work) -> dg.MaterializeResult[None]:
    """The model that finds pages by their pictures: page and query vectors, one a token (late interaction).

    Only the profile `nano` trains one, on titles seen in training pages, because a third of its titles are damaged in
    the text layer. Other profiles name a ready one in `index.embedders`.
    """
    if not work.complete:
        inputs = {"nano_corpus": work.input_folder("nano_corpus"), "base_model": work.input_folder("base_model")}
        finish_training(work, run_worker(work, "retriever", inputs))
    return work.result({"curves": curve(read_metrics(work.folder), ("loss", "accuracy"), "contrastive training")})


@check(STAGE, blocking=True, thresholds=("loss_ratio",))
def contrastive_loss_fell(build: Finished) -> dg.AssetCheckResult:
    """The mean loss of the last quarter of the steps is below that of the first quarter."""
    rows = read_metrics(build.build_folder)
    return fell([row["loss"] for row in rows if "loss" in row], build.profile.checks, share=0.25)


@check(STAGE, thresholds=("retriever_accuracy",))
def retriever_finds_training_titles(build: Finished) -> dg.AssetCheckResult:
    """Over the last ten steps `checks.retriever_accuracy` of the queries rank their own page first in the batch."""
    rows = [r for r in read_metrics(build.build_folder) if "accuracy" in r][-10:]
    accuracy = sum(r["accuracy"] for r in rows) / len(rows) if rows else 0.0
    return dg.AssetCheckResult(
        passed=accuracy >= build.profile.checks.retriever_accuracy, metadata={"accuracy": accuracy}
    )
