"""Worker of the asset `base_model`: pretrains the nano model, or fetches the named one from the hub."""

from __future__ import annotations

import shutil
from pathlib import Path

from assets_defs.machinery.stage import CHECKPOINT_FILES, folder_version
from pipelines.workers.session import Session, worker_session
from visor_core.errors import PolicyError
from visor_core.tracking import MODEL_FILES


def main() -> None:
    """Make the checkpoint and report it."""
    with worker_session() as session:
        final = session.folder / "final"
        figures = _pretrain(session, final) if session.profile.nano else _fetch(session, final)
        if session.leads:
            session.log_final(final, figures)
            session.report(folder_version(final, *CHECKPOINT_FILES), figures)


def _pretrain(session: Session, final: Path) -> dict[str, int | float | str]:
    from visor_core.nano.pretraining import train_base_model
    from visor_core.nano.world import write_world

    nano = session.profile.nano
    assert nano is not None
    pages = session.input("nano_corpus")
    world, primer = (write_world(pages / split, split, nano, session.profile.seed) for split in ("train", "primer"))
    session.total = nano.vision_steps + nano.alignment_steps
    figures = train_base_model(world, primer, final, nano, session.profile.seed, on_step=session.on_step)
    return {name: round(value, 4) for name, value in figures.items()}


def _fetch(session: Session, final: Path) -> dict[str, int | float | str]:
    """A copy of the named model's files, from a folder or from the hub's cache."""
    import httpx

    from visor_core.policies.load import require_checkpoint

    name = session.profile.model.name
    require_checkpoint(name)
    source = Path(name)
    if not source.is_dir():
        from huggingface_hub import snapshot_download

        try:
            source = Path(snapshot_download(name, allow_patterns=list(MODEL_FILES)))
        except (OSError, ValueError, httpx.HTTPError) as error:
            reason = " ".join(str(error).split())[:200]
            raise PolicyError(
                f"the weights of {name} are not here and cannot be fetched ({reason}): connect to the hub, or set "
                "model.name to a folder that holds them"
            ) from error
    require_checkpoint(source)
    shutil.copytree(source, final, dirs_exist_ok=True)
    return {"source": name, "bytes": sum(p.stat().st_size for p in final.rglob("*") if p.is_file())}


if __name__ == "__main__":
    main()
