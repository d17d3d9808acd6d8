"""Worker of the asset `retriever`."""

from __future__ import annotations

from assets_defs.machinery.stage import CHECKPOINT_FILES, folder_version
from pipelines.workers.session import worker_session


def main() -> None:
    """Train the retriever on the training pages and report it."""
    with worker_session() as session:
        from visor_core.nano.retriever import titled_pages, train_retriever
        from visor_core.nano.world import write_world

        nano = session.profile.nano
        assert nano is not None
        world = write_world(session.input("nano_corpus") / "train", "train", nano, session.profile.seed)
        final = session.folder / "final"
        session.total = nano.retriever_steps
        train_retriever(
            session.input("base_model"),
            titled_pages(world),
            final,
            steps=nano.retriever_steps,
            seed=session.profile.seed,
            on_step=session.on_step,
        )
        figures = {"steps": nano.retriever_steps, **session.last("loss", "accuracy")}
        session.log_final(final, figures)
        session.report(folder_version(final, *CHECKPOINT_FILES), figures)


if __name__ == "__main__":
    main()
