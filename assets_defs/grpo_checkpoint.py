"""Assets `grpo_checkpoint` and `grpo_rollouts`: one training produces both, because rollouts are on-policy."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.launching import launch_settings
from assets_defs.machinery.pictures import curve, episodes, sample_rows, table
from assets_defs.machinery.progress import read_metrics
from assets_defs.machinery.stage import Need, Stage
from assets_defs.machinery.tables import trajectory_facts
from assets_defs.machinery.training_process import finish_training, run_worker
from assets_defs.machinery.workspace import Work
from visor_core.errors import DataError

STAGE = Stage(
    name="grpo_checkpoint",
    # The worker opens the index that rollouts search by way of the session.
    begins=("assets_defs.grpo_checkpoint", "pipelines.workers.grpo", "visor_core.index.search"),
    reads=("threads", "accelerate", "grpo", "agent", "index", "model"),
    settings=lambda profile, partition: {
        "grpo": profile.grpo,
        "agent": profile.agent,
        "index": profile.index,
        "model": profile.model,
        "threads": profile.threads,
        "launch": launch_settings(profile),
    },
    needs=(Need("sft_checkpoint"), Need("page_index", "train"), Need("questions", "train")),
    also=("grpo_rollouts",),
    beside=("rollouts",),
)
_ROLLOUTS_VERSION = "rollouts_version"


@asset(
    STAGE,
    group="training",
    kinds={"torch"},
    pool="accelerator",
    also={
        "grpo_rollouts": "Every episode played in that training, scored, with its group: rewards can be looked at one "
        "by one. Made together with `grpo_checkpoint`, because the policy that plays is the one being trained."
    },
)
def grpo_checkpoint(work: Work) -> Iterator[dg.MaterializeResult[None]]:
    """The policy after reinforcement learning (GRPO): it plays episodes on training questions, in groups, for reward.

    The curves show reward, KL to the warm start and entropy; the samples are three episodes of the finished policy. All
    checkpoints are in MLflow, see the link `mlflow_run`.
    """
    corpus = work.profile.corpora.train
    index = work.input("page_index", corpus)
    if not work.complete:
        inputs = {
            "sft_checkpoint": work.input_folder("sft_checkpoint"),
            "questions": work.input_folder("questions", corpus) / "questions.parquet",
            "corpus": index.folder(work.home),
            "index_tag": index.index_tag,
        }
        reported = run_worker(work, "grpo", inputs, accelerate=True)
        figures = reported[STAGE.name] | {_ROLLOUTS_VERSION: reported["grpo_rollouts"]["data_version"]}
        finish_training(work, {STAGE.name: figures}, index_tag=index.index_tag)
    rows = read_metrics(work.folder)
    names = ("reward", "kl", "entropy")
    yield work.result({"curves": curve(rows, names, "GRPO"), **episodes(work.folder)})
    store = work.folder / "rollouts"
    yield work.result(
        {
            **trajectory_facts(store, "episodes"),
            "rollouts_folder": dg.MetadataValue.path(work.home.below(store)),
            "sample": table(sample_rows(store)),
        },
        asset_key="grpo_rollouts",
        data_version=str(work.record.figures[_ROLLOUTS_VERSION]),
    )


@check(STAGE, blocking=True)
def grpo_moved_the_policy(build: Finished) -> dg.AssetCheckResult:
    """The weights differ from those of the warm start, and all of them are finite numbers."""
    before = _weights(build.other("sft_checkpoint").folder)
    after = _weights(build.folder)
    moved = sum(bool((before[name] != after[name]).any()) for name in before.keys() & after.keys())
    finite = all(bool((abs(value) < float("inf")).all()) for value in after.values())
    return dg.AssetCheckResult(
        passed=moved > 0 and finite, metadata={"tensors": len(after), "moved": moved, "finite": finite}
    )


def _weights(folder: Path) -> dict[str, object]:
    """Tensors by name, as numpy arrays where numpy knows their type."""
    from safetensors import safe_open

    found: dict[str, object] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (it is no dict)
    if not found:
        raise DataError(f"{folder} holds no weights: materialize it again")
    return found


@check(STAGE, blocking=True, asset="grpo_rollouts", thresholds=("useful_groups",))
def rewards_differ_within_groups(build: Finished) -> dg.AssetCheckResult:
    """In `checks.useful_groups` of the groups, and in one at least, the rollouts earned different rewards: otherwise
    nothing can be learned. A share of 0 asks for none."""
    import polars as pl

    from visor_core.trajectories.store import current_tables

    tables = current_tables(build.build_folder / "rollouts")
    rollouts = pl.read_parquet(tables / "episodes.parquet", columns=["group_id", "reward"], glob=False).drop_nulls(
        "reward"
    )
    rewards = rollouts.group_by("group_id").agg(pl.col("reward").round(6).n_unique())["reward"]
    groups, useful, share = len(rewards), int((rewards > 1).sum()), build.profile.checks.useful_groups
    return dg.AssetCheckResult(
        passed=not share or useful >= max(1, int(groups * share)),
        metadata={"groups": groups, "useful_groups": useful},
    )
