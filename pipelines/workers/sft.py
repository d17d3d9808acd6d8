"""Worker of the asset `sft_checkpoint`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assets_defs.machinery.stage import CHECKPOINT_FILES, folder_version
from pipelines.workers.samples import log_episodes
from pipelines.workers.session import Session, worker_session
from visor_core.config.policies import WARM_STARTED

if TYPE_CHECKING:
    from pathlib import Path

    from visor_core.agent.trajectory import Trajectory
    from visor_core.index import PageIndex

NANO_QUESTIONS, QUESTIONS = 16, 3
"""Questions the finished policy is asked for samples: enough for telling ones where an episode costs nothing."""


def main() -> None:
    """Train on the teacher's turns and report the checkpoint; continues where an interrupted run stopped."""
    with worker_session() as session:
        from visor_core.training.sft import train_sft

        profile = session.profile
        index = session.open_index()
        session.total = profile.sft.steps or 0
        result = train_sft(
            session.input("base_model"),
            session.input("sft_dataset"),
            index,
            profile.sft,
            session.folder,
            profile.seed,
            dtype=profile.model.dtype,
            on_step=session.on_step,
            on_checkpoint=session.on_checkpoint,
            **profile.model.caches,
        )
        if session.leads:
            samples = log_episodes(session, _play(session, result.checkpoint, index), index)
            figures = {"steps": result.steps, **session.last("loss")}
            session.log_final(result.checkpoint, figures, samples)
            session.report(folder_version(result.checkpoint, *CHECKPOINT_FILES), figures)
        index.close()


def _play(session: Session, checkpoint: Path, index: PageIndex) -> list[Trajectory]:
    """The finished policy, greedy, on a few of the questions it was taught with."""
    from visor_core.agent.environment import Environment
    from visor_core.policies.load import load_policy
    from visor_core.trajectories.playing import play
    from visor_core.trajectories.store import read_trajectories

    profile = session.profile
    lessons = read_trajectories(session.input("sft_dataset"))
    questions = {lesson.question.question_id: lesson.question for lesson in lessons}
    wanted = NANO_QUESTIONS if profile.nano else QUESTIONS
    asked = list(questions.values())[:: max(1, len(questions) // wanted)][:wanted]
    model = profile.model
    with load_policy(checkpoint, index, dtype=model.dtype, name=WARM_STARTED.stage, caches=model.caches) as policy:
        played = play(
            policy,
            Environment(index, profile.agent, profile.index),
            asked,
            seed=profile.seed,
            concurrency=profile.evaluation.concurrency,
        )
    return list(played.episodes)


if __name__ == "__main__":
    main()
