"""Embedders: pages and queries → one vector each, or one vector a token (multi-vector), behind one protocol."""

from visor_core.index.embedders.base import Embedder, PageInput
from visor_core.index.embedders.load import load_embedder, load_embedders

__all__ = ["Embedder", "PageInput", "load_embedder", "load_embedders"]
