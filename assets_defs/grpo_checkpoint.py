"""Assets `grpo_checkpoint` and `grpo_rollouts`: one training produces both, because rollouts are on-policy."""

from collections.abc import Iterator

import dagster as dg

from assets_defs.machinery.judging import check
from assets_defs.machinery.launching import launch_settings
from assets_defs.machinery.pictures import curve, episodes, sample_rows, table
from assets_defs.machinery.progress import read_metrics
from assets_defs.machinery.stage import Need, Node, Stage
from assets_defs.machinery.training_process import Tracking, finish_training, run_worker
from assets_defs.machinery.workspace import Workspace
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
)
_ROLLOUTS_VERSION = "rollouts_version"


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "grpo_checkpoint",
            deps=STAGE.deps,
            code_version=STAGE.version,
            group_name="training",
            kinds={"torch"},
            description="The policy after reinforcement learning on rebuilt contexts.",
        ),
        dg.AssetSpec(
            "grpo_rollouts",
            deps=STAGE.deps,
            code_version=STAGE.version,
            group_name="training",
            kinds={"parquet"},
            description="Every rollout of that training, scored, with its group.",
        ),
    ],
    pool="accelerator",
)
def grpo_training(
    context: dg.AssetExecutionContext, workspace: Workspace, pipes: dg.PipesSubprocessClient, tracking: Tracking
) -> Iterator[dg.MaterializeResult[None]]:
    """GRPO on training questions."""
    work = workspace.begin(STAGE, context)
    corpus = work.profile.corpora.train
    index = work.input("page_index", corpus)
    if not work.complete:
        inputs = {
            "sft_checkpoint": work.input_folder("sft_checkpoint"),
            "questions": work.input_folder("questions", corpus) / "questions.parquet",
            "corpus": index.folder(work.home),
            "index_tag": index.index_tag,
        }
        reported = run_worker(work, context, pipes, tracking, "grpo", inputs, accelerate=True)
        figures = reported[STAGE.name] | {_ROLLOUTS_VERSION: reported["grpo_rollouts"]["data_version"]}
        finish_training(work, {STAGE.name: figures}, index_tag=index.index_tag)
    rows = read_metrics(work.folder)
    names = ("reward", "kl", "entropy")
    yield work.result({"curves": curve(rows, names, "GRPO"), **episodes(work.folder)}, asset_key="grpo_checkpoint")
    store = work.folder / "rollouts"
    yield work.result(
        {"rollouts_folder": dg.MetadataValue.path(str(store)), "sample": table(sample_rows(store))},
        asset_key="grpo_rollouts",
        data_version=str(workspace.record(Node(STAGE.name)).figures[_ROLLOUTS_VERSION]),
    )


@check(STAGE, blocking=True)
def grpo_moved_the_policy(workspace: Workspace) -> dg.AssetCheckResult:
    """The weights differ from those of the warm start, and all of them are finite numbers."""
    before = _weights(workspace, "sft_checkpoint")
    after = _weights(workspace, "grpo_checkpoint")
    moved = sum(bool((before[name] != after[name]).any()) for name in before.keys() & after.keys())
    finite = all(bool((abs(value) < float("inf")).all()) for value in after.values())
    return dg.AssetCheckResult(
        passed=moved > 0 and finite, metadata={"tensors": len(after), "moved": moved, "finite": finite}
    )


def _weights(workspace: Workspace, stage: str) -> dict[str, object]:
    """Tensors by name, as numpy arrays where numpy knows their type."""
    from safetensors import safe_open

    folder = workspace.folder(Node(stage))
    found: dict[str, object] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (it is no dict)
    if not found:
        raise DataError(f"{folder} holds no weights: materialize {stage} again")
    return found


@check(STAGE, blocking=True, asset="grpo_rollouts")
def rewards_differ_within_groups(workspace: Workspace) -> dg.AssetCheckResult:
    """In at least one group in twenty the rollouts earned different rewards: otherwise nothing can be learned."""
    import polars as pl

    from visor_core.trajectories.store import current_tables

    tables = current_tables(workspace.build_folder(Node("grpo_checkpoint")) / "rollouts")
    rollouts = pl.read_parquet(tables / "episodes.parquet", columns=["group_id", "reward"], glob=False).drop_nulls(
        "reward"
    )
    rewards = rollouts.group_by("group_id").agg(pl.col("reward").round(6).n_unique())["reward"]
    groups, useful = len(rewards), int((rewards > 1).sum())
    return dg.AssetCheckResult(
        passed=useful >= max(1, groups // 20), metadata={"groups": groups, "useful_groups": useful}
    )
