"""The LanceDB tables of a corpus: embedders, search (full text, vector, multi-vector, hybrid), versions and tags."""

from visor_core.index.build import IndexReport, build_index
from visor_core.index.corpus import Corpus
from visor_core.index.embedders import Embedder, load_embedders
from visor_core.index.pages import PagesReport, render_pages
from visor_core.index.records import Document, Hit, Page
from visor_core.index.register import DocumentsReport, register_documents
from visor_core.index.search import PageIndex
from visor_core.index.settings import EVERY_COLUMN, keep_settings, read_settings, settle

__all__ = [
    "EVERY_COLUMN",
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
    "keep_settings",
    "load_embedders",
    "read_settings",
    "register_documents",
    "render_pages",
    "settle",
]
