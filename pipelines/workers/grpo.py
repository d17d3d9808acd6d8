"""Worker of the assets `grpo_checkpoint` and `grpo_rollouts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_defs.machinery.pictures import SAMPLES
from assets_defs.machinery.stage import CHECKPOINT_FILES, folder_version
from pipelines.workers.samples import draw_episodes, log_episodes
from pipelines.workers.session import worker_session

if TYPE_CHECKING:
    from visor_core.agent.trajectory import Trajectory


def main() -> None:
    """Train by reinforcement and report checkpoint and rollouts; continues where an interrupted run stopped."""
    with worker_session() as session:
        from accelerate import PartialState

        from visor_core.agent.environment import Environment
        from visor_core.agent.episode import step_prefix
        from visor_core.questions import grpo_questions, read_questions
        from visor_core.training.grpo import train_grpo
        from visor_core.training.rewards import RewardContext
        from visor_core.trajectories.store import TrajectoryWriter, compact, trajectories_version

        profile = session.profile
        index = session.open_index()
        session.total = profile.grpo.steps
        store = session.folder / "rollouts"
        writer = TrajectoryWriter(store)
        latest: list[Trajectory] = []

        def rolled_out(step: int, trajectories: Sequence[Trajectory]) -> None:
            latest[:] = trajectories

        def checkpointed(folder: Path, step: int, metrics: Mapping[str, Any]) -> None:
            played = draw_episodes(session.folder / SAMPLES / f"step-{step}", latest, index)
            session.on_checkpoint(folder, step, metrics, played)

        result = train_grpo(
            session.input("sft_checkpoint"),
            grpo_questions(read_questions(session.input("questions")), profile),
            Environment(index, profile.agent, profile.index),
            index,
            profile.grpo,
            session.folder,
            profile.seed,
            engine=profile.model.engine,
            dtype=profile.model.dtype,
            vllm=profile.model.vllm,
            context=RewardContext(words=lambda page_id: index.page(page_id).words),
            on_step=session.on_step,
            on_checkpoint=checkpointed,
            on_episode=writer.append,
            on_rollouts=rolled_out,
            **profile.model.caches,
        )
        writer.close()
        # Compaction leaves a segment alone that another process still holds.
        PartialState().wait_for_everyone()
        if session.leads:
            rollouts = compact(store)
            last = [t for t in rollouts if t.group_id.startswith(step_prefix(profile.seed, result.steps - 1))]
            samples = log_episodes(session, last, index)
            figures = {"steps": result.steps, "rollouts": len(rollouts), **session.last("reward", "kl")}
            session.log_final(result.checkpoint, figures, samples)
            session.report(folder_version(result.checkpoint, *CHECKPOINT_FILES), figures)
            session.report(trajectories_version(rollouts), {"rollouts": len(rollouts)}, asset="grpo_rollouts")
        index.close()


if __name__ == "__main__":
    main()
