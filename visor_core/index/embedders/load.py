"""Embedders by their configuration string; the one place that knows all of them."""

from __future__ import annotations

import os
from pathlib import Path

from visor_core.config import IndexConfig, embedder_parts
from visor_core.errors import ConfigError, SearchIndexError
from visor_core.index.embedders.base import Embedder
from visor_core.index.embedders.hashing import HashEmbedder

_HUB = {
    "colqwen2": "vidore/colqwen2-v1.0-hf",
    "colpali": "vidore/colpali-v1.3-hf",
    "colmodernvbert": "ModernVBERT/colmodernvbert-merged",
}


def load_embedders(config: IndexConfig) -> list[Embedder]:
    """The configured embedders, in order, on the configured device.

    Raises:
        ConfigError: if one is unknown.
        SearchIndexError, MissingDependencyError: if one cannot be loaded.
    """
    return [load_embedder(spec, device=config.device) for spec in config.embedders]


def load_embedder(spec: str, *, device: str = "cpu") -> Embedder:
    """One embedder: `hash[:DIMENSION]`, `late:FOLDER`, `colqwen2|colpali|colmodernvbert[:SOURCE][@REVISION]`,
    `colqwen2.5|colsmol[:SOURCE][@REVISION]` or `sentence:NAME[@REVISION]`.

    Weights are read from safetensors alone, and no code that comes with them is run.
    """
    kind, source, revision = embedder_parts(spec)
    if kind == "hash":
        if source and not (source.isdecimal() and 16 <= int(source) <= 65_536):
            raise ConfigError(f"index.embedders: {spec!r}: the dimension is a number from 16 to 65536")
        if revision:
            raise ConfigError(f"index.embedders: {spec!r}: hashing has no revisions")
        return HashEmbedder(int(source)) if source else HashEmbedder()
    device = _resolved(device)
    if kind == "late":
        if not Path(source).is_dir():
            raise SearchIndexError(f"index.embedders: {spec!r}: there is no folder {source!r}")
        from visor_core.index.embedders.late import LateInteractionEmbedder

        return LateInteractionEmbedder(source, spec, device=device)
    if kind in _HUB:
        from visor_core.index.embedders.late import LateInteractionEmbedder

        return LateInteractionEmbedder(source or _HUB[kind], spec, revision=revision or None, device=device)
    if kind in ("colqwen2.5", "colsmol"):
        from visor_core.index.embedders.engine import EngineEmbedder

        return EngineEmbedder(kind, source, spec, revision=revision or None, device=device)
    if kind == "sentence" and source:
        from visor_core.index.embedders.sentence import SentenceEmbedder

        return SentenceEmbedder(source, spec, revision=revision or None, device=device)
    raise ConfigError(
        f"index.embedders: {spec!r} is unknown: choose hash, late:FOLDER, colqwen2, colpali, colmodernvbert, "
        "colqwen2.5, colsmol or sentence:NAME"
    )


def _resolved(device: str) -> str:
    """`auto` as a device: of several GPUs the one that this process of a launch trains on."""
    if device != "auto":
        return device
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
