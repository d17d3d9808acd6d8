"""A small nano world as tests and measurements use it: the compact agent, and PDFs made into an index for real."""

from __future__ import annotations

from pathlib import Path

from visor_core.config import AgentConfig, CropConfig, DocumentsConfig, ImageConfig, IndexConfig
from visor_core.index import Corpus, PageIndex, build_index, load_embedders, register_documents, render_pages

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
