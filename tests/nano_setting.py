"""A small nano world as tests and measurements use it: the compact agent, PDFs made into an index, who plays."""

from __future__ import annotations

from pathlib import Path

from visor_core.config import AgentConfig, CropConfig, DocumentsConfig, ImageConfig, IndexConfig, TeacherConfig
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages
from visor_core.nano.teacher import ScriptedTeacher
from visor_core.nano.world import World
from visor_core.policies.base import BatchPolicy, ImageLoader
from visor_core.policies.transformers import TransformersPolicy

DOCUMENTS = DocumentsConfig(dpi=36, workers=1, ocr="never")
INDEX = IndexConfig(embedders=("hash",))
AGENT = AgentConfig(
    prompts="compact",
    coordinates="grid10",
    max_turns=9,
    max_new_tokens=24,
    verification_search=False,
    image=ImageConfig(min_pixels=16384, max_pixels=16384, multiple=128, pixels_per_token=1024),
    crop=CropConfig(pad_pixels=0, min_side=0.3, square=True),
)


def nano_index(
    folder: Path, pdfs: Path, documents: DocumentsConfig = DOCUMENTS, index: IndexConfig = INDEX
) -> PageIndex:
    """Register, render and index a world's PDFs in `folder`; sub-folders are partitions."""
    corpus = Corpus(folder)
    register_documents(corpus, [pdfs], documents, partition_of=lambda path: path.parent.name)
    render_pages(corpus, documents)
    report = build_index(corpus, index, load_embedders(index))
    return PageIndex.open(folder, report.index_tag)


def player(
    checkpoint: Path | None, images: ImageLoader, world: World, mistakes: TeacherConfig, seed: int
) -> BatchPolicy:
    """Who plays: a checkpoint or, without one, the world's scripted teacher with its mistakes."""
    if checkpoint:
        return TransformersPolicy(checkpoint, images, max_batch=128)
    return ScriptedTeacher(world, mistakes, AGENT, seed=seed)
