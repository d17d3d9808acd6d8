"""ColQwen2.5 and ColSmol through `colpali-engine` (an extra with pins of its own)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from visor_core.errors import MissingDependencyError, SearchIndexError
from visor_core.index.embedders.base import PageInput, Vector
from visor_core.index.embedders.late import LOADING_FAULTS, UNUSED, folder_fingerprint, hub_fingerprint, precision
from visor_core.index.embedders.patches import Patches, patch_tokens
from visor_core.installation import install_command
from visor_core.policies.weights_check import load_model

MODELS = {
    "colqwen2.5": ("ColQwen2_5", "ColQwen2_5_Processor", "vidore/colqwen2.5-v0.1"),
    "colsmol": ("ColIdefics3", "ColIdefics3Processor", "vidore/colSmol-256M"),
}
"""Name → model class, processor class, hub id."""


class EngineEmbedder:
    """A model of colpali-engine, by name, from its hub id or from a folder.

    Raises:
        MissingDependencyError: if colpali-engine is not installed.
        SearchIndexError: if the model cannot be loaded.
    """

    multi_vector = True
    embeds_pictures = True

    def __init__(
        self,
        name: str,
        source: str,
        spec: str,
        *,
        revision: str | None = None,
        device: str = "cpu",
        batch_size: int = 4,
    ) -> None:
        try:
            import colpali_engine.models as models
        except ImportError as error:
            raise MissingDependencyError(
                f"the embedder {name} needs the extra `colpali`: `{install_command('colpali')}`"
            ) from error
        model_class, processor_class, hub = MODELS[name]
        source = source or hub
        options: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
        try:
            self.processor = getattr(models, processor_class).from_pretrained(source, **options)
            options |= {"dtype": precision(device), "use_safetensors": True}
            load = getattr(models, model_class).from_pretrained
            self.model = load_model(load, source, unused=UNUSED, **options).eval().to(device)
        except LOADING_FAULTS as error:
            raise SearchIndexError(
                f"the retriever {source} cannot be loaded: {' '.join(str(error).split())[:300]}"
            ) from error
        self.name = name.replace(".", "_")
        self.spec = spec
        self.dimension = int(self.model.dim)
        self._batch_size, self._device = batch_size, device
        path = Path(source)
        self.fingerprint = folder_fingerprint(path) if path.is_dir() else hub_fingerprint(source, revision)

    def embed_pages(self, pages: Sequence[PageInput]) -> list[Vector]:
        """One (T, D) array a page."""
        found: list[Vector] = []
        for start in range(0, len(pages), self._batch_size):
            images = [page.image() for page in pages[start : start + self._batch_size]]
            found += self._embed(self.processor.process_images(images))
        return found

    def embed_query(self, query: str, statistics: Vector | None = None) -> Vector:
        """One (T, D) array."""
        return self._embed(self.processor.process_queries([query]))[0]

    def statistics(self, vectors: Iterable[Vector]) -> Vector | None:
        """None."""
        return None

    def patch_tokens(self, picture: Image.Image) -> Patches:
        """Which of a page's vectors stand for which patch of its picture, (rows, columns)."""
        inputs = self.processor.process_images([picture])
        return patch_tokens(inputs, self.processor)

    def _embed(self, inputs: Any) -> list[Vector]:
        import torch

        with torch.inference_mode():
            output = self.model(**{k: v.to(self._device) for k, v in inputs.items()}).float().cpu().numpy()
        masks = inputs["attention_mask"].bool().numpy()
        return [output[i][masks[i]] for i in range(len(output))]
