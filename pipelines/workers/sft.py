"""Worker of the asset `sft_checkpoint`, started by `accelerate launch`."""

from __future__ import annotations

from assets_defs.stage import CHECKPOINT_FILES, folder_version
from pipelines.workers.session import worker_session


def main() -> None:
    """Train on the teacher's turns and report the checkpoint; continues where an interrupted run stopped."""
    with worker_session() as session:
        from visor_core.index import PageIndex
        from visor_core.training.sft import train_sft

        profile = session.profile
        index = PageIndex.open(session.input("corpus"), session.inputs["index_tag"])
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
        )
        index.close()
        if session.leads:
            figures = {"steps": result.steps, **session.last("loss")}
            session.log_final(result.checkpoint, figures)
            session.report(folder_version(result.checkpoint, *CHECKPOINT_FILES), figures)


if __name__ == "__main__":
    main()
