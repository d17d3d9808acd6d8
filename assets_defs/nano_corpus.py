"""Asset `nano_corpus`: the synthetic documents as PDF files in three splits, with questions on two of them."""

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.pictures import page_with_words
from assets_defs.machinery.stage import CORPUS_SPLITS, Stage, folder_version
from assets_defs.machinery.workspace import Work
from visor_core.config import WORLD, NanoConfig
from visor_core.errors import ConfigError
from visor_core.questions import write_questions

STAGE = Stage(
    name="nano_corpus",
    begins=("assets_defs.nano_corpus",),
    reads=tuple(f"nano.{name}" for name in WORLD),
    settings=lambda profile, partition: {"world": profile.nano.world() if profile.nano else {}},
    applies=lambda profile: profile.nano is not None,
)


def nano_of(work: Work) -> NanoConfig:
    """The section `nano`.

    Raises:
        ConfigError: if the profile has none.
    """
    if work.profile.nano is None:
        raise ConfigError(f"the profile {work.profile.name!r} has no section `nano`: {work.node} does not belong to it")
    return work.profile.nano


@asset(STAGE, group="nano", kinds={"pdf"})
def nano_corpus(work: Work) -> dg.MaterializeResult[None]:
    """A small synthetic world: PDF reports of invented companies, and questions whose answers stand in their pictures.

    Made from the seed and the section `nano` alone, so the whole chain can be tried without a document or a download.
    It has a training, a development and a test split, which share no document, and pages of its own for the base model.
    """
    from visor_core.nano.questions import ask_world
    from visor_core.nano.world import write_world

    nano, seed = nano_of(work), work.profile.seed
    worlds = {split: write_world(work.folder / split, split, nano, seed) for split in CORPUS_SPLITS}
    primer = write_world(work.folder / "primer", "primer", nano, seed)
    if not work.complete:
        counts = {"train": nano.train_questions, "development": nano.development_questions}
        figures = {"primer_pages": len(primer.pages)}
        for split, world in worlds.items():
            questions = ask_world(world, counts[split], nano, seed)
            write_questions(work.folder / f"{split}.parquet", questions)
            figures |= {
                f"{split}_documents": len(world.files),
                f"{split}_pages": len(world.pages),
                f"{split}_questions": len(questions),
            }
        work.finish(folder_version(work.folder, "*.pdf", "*.parquet"), figures)
    return work.result({"sample_page": _sample(worlds["train"])})


def _sample(world: object) -> dg.MarkdownMetadataValue:
    """The first page with panels, its panels marked."""
    import pymupdf
    from PIL import Image

    from visor_core.nano.world import World

    assert isinstance(world, World)
    page = next(p for p in world.pages if p.panels)
    with pymupdf.open(world.folder / page.path) as document:
        pixmap = document[page.page - 1].get_pixmap(dpi=72)
        image = Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples)
    boxes = [panel.target for panel in page.panels]
    return page_with_words(image, [], boxes, caption=f"{page.path}, page {page.page}, regions to be read")


@check(STAGE, blocking=True)
def splits_share_no_document(build: Finished) -> dg.AssetCheckResult:
    """No document of the training split is, byte for byte, one of the development split."""
    from visor_core.documents.sources import document_id_of

    folder = build.folder
    ids = {split: {document_id_of(p) for p in (folder / split).rglob("*.pdf")} for split in CORPUS_SPLITS}
    shared = ids["train"] & ids["development"]
    return dg.AssetCheckResult(
        passed=bool(ids["train"]) and bool(ids["development"]) and not shared,
        metadata={"shared": len(shared), **{split: len(found) for split, found in ids.items()}},
    )
