"""Asset `base_model`: the model every training stage starts from.

For `nano` it is trained from nothing on the perception of training pages; otherwise it is the named Hugging Face model.
"""

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.launching import launch_settings
from assets_defs.machinery.pictures import curve
from assets_defs.machinery.progress import read_metrics
from assets_defs.machinery.stage import Need, Stage
from assets_defs.machinery.training_process import fell, finish_training, run_worker
from assets_defs.machinery.workspace import Work

STAGE = Stage(
    name="base_model",
    begins=("assets_defs.base_model", "pipelines.workers.base_model"),
    reads=("threads", "accelerate", "nano", "model"),
    settings=lambda profile, partition: {
        "nano": profile.nano,
        "model": profile.model,
        "threads": profile.threads,
        "launch": launch_settings(profile) if profile.nano else None,
    },
    needs=(Need("nano_corpus", when=lambda profile, partition: profile.nano is not None),),
)


@asset(STAGE, group="nano", kinds={"torch", "huggingface"}, pool="accelerator")
def base_model(work: Work) -> dg.MaterializeResult[None]:
    """The model that training starts from.

    In the profile `nano` a small vision-language model, trained here from nothing to crop and read pictures, also as
    single turns of an episode; it has played no episode yet. In other profiles a model of the Hugging Face hub, as it
    is. The folder is a Hugging Face checkpoint.
    """
    if not work.complete:
        trained = work.profile.nano is not None
        inputs = {"nano_corpus": work.input_folder("nano_corpus")} if trained else {}
        reported = run_worker(work, "base_model", inputs, accelerate=trained)
        fetched = {"model": work.profile.model.name, "files": reported[STAGE.name]["data_version"]}
        finish_training(work, reported, told=None if trained else {"from_outside": fetched})
    rows = read_metrics(work.folder)
    return work.result({"curves": curve(rows, ("loss", "accuracy"), "pretraining")})


@check(STAGE, blocking=True, thresholds=("loss_ratio",))
def pretraining_lowered_the_loss(build: Finished) -> dg.AssetCheckResult:
    """In its last phase of training the mean loss of the last tenth of steps is below that of the first tenth."""
    rows = [r for r in read_metrics(build.build_folder) if "loss" in r]
    if not rows:
        return dg.AssetCheckResult(passed=True, metadata={"steps": 0}, description="nothing was trained here")
    return fell([r["loss"] for r in rows if r.get("phase") == rows[-1].get("phase")], build.profile.checks)
