"""Text embedders of sentence-transformers: `sentence:NAME`, a hub id or a folder. The extra `sentence`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visor_core.errors import MissingDependencyError, SearchIndexError
from visor_core.index.embedders.base import PageInput, Vector
from visor_core.index.embedders.late import LOADING_FAULTS, folder_fingerprint, hub_fingerprint
from visor_core.installation import install_command
from visor_core.policies.weights_check import load_model, refuse_not_finite

HEADS = ("cls", "lm_head", "pooler", "predictions", "position_ids", "vocab_transform", "vocab_layer_norm")
"""Parts of language models that no sentence vector is read from; their checkpoints may hold them or not."""


class SentenceEmbedder:
    """One vector a page from its text.

    Raises:
        MissingDependencyError: if sentence-transformers is not installed.
        SearchIndexError: if the model cannot be loaded.
    """

    multi_vector = False
    embeds_pictures = False

    def __init__(self, source: str, spec: str, *, revision: str | None = None, device: str = "cpu") -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingDependencyError(
                f"the embedder sentence:{source} needs the extra `sentence`: `{install_command('sentence')}`"
            ) from error
        try:
            self._model = SentenceTransformer(
                source,
                device=device,
                revision=revision,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
            _refuse_unfit(self._model, revision)
        except LOADING_FAULTS as error:
            raise SearchIndexError(
                f"the text embedder {source} cannot be loaded: {' '.join(str(error).split())[:300]}"
            ) from error
        self.name, self.spec = "sentence", spec
        self.dimension = int(self._model.get_embedding_dimension() or 0)
        path = Path(source)
        self.fingerprint = folder_fingerprint(path) if path.is_dir() else hub_fingerprint(source, revision)

    def embed_pages(self, pages: Sequence[PageInput]) -> list[Vector]:
        """(D,) a page, of unit length; the model cuts long texts at its own length."""
        texts = [f"{page.context}\n{page.text}" for page in pages]
        return [np.asarray(v, dtype=np.float32) for v in self._model.encode(texts, normalize_embeddings=True)]

    def embed_query(self, query: str, statistics: Vector | None = None) -> Vector:
        """(D,), of unit length."""
        return np.asarray(self._model.encode([query], normalize_embeddings=True)[0], dtype=np.float32)

    def statistics(self, vectors: Iterable[Vector]) -> Vector | None:
        """None."""
        return None


def _refuse_unfit(model: Any, revision: str | None) -> None:
    """Compare the encoder's keys with those of the checkpoint it came from, and look for numbers that are none.

    sentence-transformers keeps transformers' report of a load to itself, so the keys are compared without the weights.

    Raises:
        UnfitWeightsError: naming keys.
    """
    encoder = getattr(model[0], "auto_model", None)
    if encoder is not None:
        options = {"revision": revision, "device_map": "meta", "use_safetensors": True, "trust_remote_code": False}
        load_model(type(encoder).from_pretrained, encoder.config._name_or_path, unused=HEADS, **options)
    refuse_not_finite(model.state_dict().items())
