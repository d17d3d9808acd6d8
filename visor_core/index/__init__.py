"""The LanceDB tables of a corpus: embedders, search (full text, vector, multi-vector, hybrid), versions and tags."""

from visor_core.index.build import IndexReport, build_index
from visor_core.index.corpus import Corpus
from visor_core.index.embedders import Embedder, load_embedders
from visor_core.index.pages import PagesReport, render_pages
from visor_core.index.records import Document, Hit, Page
from visor_core.index.register import DocumentsReport, register_documents
from visor_core.index.search import PageIndex

__all__ = [
    "Corpus",
    "Document",
    "DocumentsReport",
    "Embedder",
    "Hit",
    "IndexReport",
    "Page",
    "PageIndex",
    "PagesReport",
    "build_index",
    "load_embedders",
    "register_documents",
    "render_pages",
]
