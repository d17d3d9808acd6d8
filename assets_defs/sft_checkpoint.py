"""Asset `sft_checkpoint`: the warm start, trained on the teacher's turns in a process of its own."""

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.launching import launch_settings
from assets_defs.machinery.pictures import curve, episodes
from assets_defs.machinery.progress import read_metrics
from assets_defs.machinery.stage import Need, Stage
from assets_defs.machinery.training_process import fell, finish_training, run_worker
from assets_defs.machinery.workspace import Work

STAGE = Stage(
    name="sft_checkpoint",
    # The worker opens the index for its pictures alone, and so by way of the session.
    begins=("assets_defs.sft_checkpoint", "pipelines.workers.sft", "visor_core.documents.crops"),
    reads=("threads", "accelerate", "sft", "model.dtype"),
    settings=lambda profile, partition: {
        "sft": profile.sft,
        "dtype": profile.model.dtype,
        "threads": profile.threads,
        "launch": launch_settings(profile),
    },
    needs=(
        Need("base_model", when=lambda profile, partition: not profile.tiles_pictures),
        Need("tiled_model", when=lambda profile, partition: profile.tiles_pictures),
        Need("sft_dataset"),
    ),
)


@asset(STAGE, group="training", kinds={"torch"}, pool="accelerator")
def sft_checkpoint(work: Work) -> dg.MaterializeResult[None]:
    """The policy after supervised fine-tuning on the teacher's turns: the warm start.

    The curves show loss, gradient norm and learning rate; the samples are three episodes that it played when it was
    finished. All checkpoints are in MLflow, see the link `mlflow_run`.
    """
    index = work.input("page_index", work.profile.corpora.train)
    dataset = work.input("sft_dataset")
    if not work.complete:
        inputs = {
            "base_model": work.input_folder("tiled_model" if work.profile.tiles_pictures else "base_model"),
            "sft_dataset": dataset.folder(work.home),
            "corpus": index.folder(work.home),
            "index_tag": dataset.index_tag,
        }
        reported = run_worker(work, "sft", inputs, accelerate=True)
        finish_training(work, reported, index_tag=dataset.index_tag)
    rows = read_metrics(work.folder)
    curves = curve(rows, ("loss", "grad_norm", "learning_rate"), "supervised fine-tuning")
    return work.result({"curves": curves, **episodes(work.folder)})


@check(STAGE, blocking=True, thresholds=("loss_ratio",))
def sft_lowered_the_loss(build: Finished) -> dg.AssetCheckResult:
    """The mean loss of the last tenth of the steps is below that of the first tenth."""
    rows = read_metrics(build.build_folder)
    return fell([row["loss"] for row in rows if "loss" in row], build.profile.checks)
