"""A small real corpus, built once, and a way to build others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.visor_core.documents.writing import write_pdf, write_picture
from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.documents.pool import WorkerPool
from visor_core.index import (
    EVERY_COLUMN,
    Corpus,
    DocumentsReport,
    IndexReport,
    PageIndex,
    PagesReport,
    build_index,
    keep_settings,
    load_embedders,
    register_documents,
    render_pages,
)

DOCUMENTS = DocumentsConfig(ocr="never", dpi=72, workers=1)
INDEX = IndexConfig(embedders=("hash:256",), passage_words=20, passage_overlap=5)
WORKERS = WorkerPool(1)

ANIMALS = [
    "The quick brown fox jumps over the lazy dog.",
    "Zebras graze on the savanna in large herds.",
    "Whales sing.",
]
FINANCE = [
    "Annual report of Acme Industries",
    "Revenue rose to 4711 million euros in 2023.",
    "Headcount fell in Poland.",
]


def ingest(
    root: Path,
    sources: Sequence[Path | str],
    *,
    prune: bool = False,
    documents: DocumentsConfig = DOCUMENTS,
    index: IndexConfig = INDEX,
    tag: str | None = None,
    pool: WorkerPool = WORKERS,
) -> tuple[DocumentsReport, PagesReport, IndexReport]:
    """The three stages, as the command line runs them, whatever the corpus was before; by one worker for all tests, as
    each takes a while to start."""
    corpus = Corpus(root)
    keep_settings(corpus, documents=documents, index=index)
    registered = register_documents(
        corpus,
        sources,
        documents,
        prune=prune,
        partition_of=lambda p: p.parent.name if "part-" in p.parent.name else "",
        pool=pool,
    )
    rendered = render_pages(corpus, documents, pool=pool)
    built = build_index(corpus, index, load_embedders(index), tag=tag, drop=(EVERY_COLUMN,))
    return registered, rendered, built


@pytest.fixture(scope="session", autouse=True)
def _workers() -> Iterator[None]:
    with WORKERS:
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two PDFs in partitions of their own and a picture."""
    root = tmp_path_factory.mktemp("sources")
    write_pdf(root / "part-one" / "animals.pdf", ANIMALS, title="On animals")
    write_pdf(root / "part-two" / "acme_report.pdf", FINANCE)
    write_picture(root / "logo.png")
    return root


@pytest.fixture(scope="session")
def index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    """The corpus of `folder`, opened."""
    root = tmp_path_factory.mktemp("corpus")
    ingest(root, [folder])
    return PageIndex.open(root)
