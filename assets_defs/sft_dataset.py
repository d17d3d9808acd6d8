"""Asset `sft_dataset`: teacher episodes balanced over their number of turns, at most as many as the profile wants."""

from collections import Counter

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.stage import Need, Stage
from assets_defs.machinery.tables import trajectory_facts
from assets_defs.machinery.workspace import Work

STAGE = Stage(
    name="sft_dataset",
    begins=("assets_defs.sft_dataset",),
    reads=("teacher.trajectories",),
    settings=lambda profile, partition: {"trajectories": profile.teacher.trajectories},
    needs=(Need("teacher_trajectories"),),
)


@asset(STAGE, group="training", kinds={"parquet"})
def sft_dataset(work: Work) -> dg.MaterializeResult[None]:
    """The teacher episodes that the warm start is trained on, balanced over their number of turns.

    One row a turn, in Parquet; pictures are references to pages, never pixels.
    """
    from visor_core.trajectories.filters import balance
    from visor_core.trajectories.store import TrajectoryWriter, compact, read_trajectories, trajectories_version

    store = work.folder / "trajectories"
    if not work.complete:
        source = work.input("teacher_trajectories")
        available = read_trajectories(source.folder(work.home))
        chosen = balance(available, work.profile.teacher.trajectories, work.profile.seed)
        with TrajectoryWriter(store) as writer:
            for trajectory in chosen:
                writer.append(trajectory)
        compact(store)
        lengths = Counter(len(t.turns) for t in chosen)
        figures = {
            "trajectories": len(chosen),
            "rows": sum(len(t.turns) for t in chosen),
            **{f"of_{turns}_turns": count for turns, count in sorted(lengths.items())},
        }
        work.finish(trajectories_version(chosen), figures, path=store, index_tag=source.index_tag)
    return work.result(trajectory_facts(store, "turns"))


@check(STAGE, blocking=True)
def contexts_replay_exactly(build: Finished) -> dg.AssetCheckResult:
    """Stored references rebuild the very contexts the teacher saw, for a sample of 32 episodes."""
    from visor_core.trajectories.replay import rebuild
    from visor_core.trajectories.store import read_sample

    sample = read_sample(build.folder, 32)
    different = [t.trajectory_id for t in sample if rebuild(t) != [turn.prompt for turn in t.turns]]
    return dg.AssetCheckResult(
        passed=bool(sample) and not different,
        metadata={"compared": len(sample), "different": len(different)},
    )
