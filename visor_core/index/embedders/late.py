"""Late-interaction retrievers (ColPali family) through transformers' own retrieval models.

Any Hugging Face folder, or hub id, whose configuration is a ColModernVBert, ColPali or ColQwen2 model: page pictures go
through `process_images`, queries through `process_queries`, and each token keeps its vector. Padding is dropped.
Source: ColPali (arXiv 2407.01449). Leaves out: token pooling.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError

from visor_core.errors import SearchIndexError
from visor_core.index.embedders.base import PageInput, Vector
from visor_core.index.embedders.patches import Patches, patch_tokens
from visor_core.policies.weights_check import load_model

MODELS = {
    "colmodernvbert": ("ColModernVBertForRetrieval", "ColModernVBertProcessor"),
    "colpali": ("ColPaliForRetrieval", "ColPaliProcessor"),
    "colqwen2": ("ColQwen2ForRetrieval", "ColQwen2Processor"),
}
"""Model type → transformers' model and processor class."""
UNUSED = ("lm_head",)
"""What checkpoints of these retrievers may hold of the language model they were made from."""
LOADING_FAULTS = (OSError, ValueError, ImportError, AttributeError, RuntimeError, AssertionError, SafetensorError)
"""What is raised over a model that is not there, is of another kind, or does not get its device."""


class LateInteractionEmbedder:
    """A retriever loaded from `source`, a folder or a hub id (`revision` pins the latter).

    Args:
        source: Hugging Face folder or hub id.
        spec: what `load_embedder` was given.
        device: torch device.
        batch_size: pages a forward pass.

    Raises:
        SearchIndexError: if it is no late-interaction retriever or cannot be loaded.
    """

    multi_vector = True
    embeds_pictures = True

    def __init__(
        self, source: str, spec: str, *, revision: str | None = None, device: str = "cpu", batch_size: int = 8
    ) -> None:
        import transformers

        self.spec = spec
        self._batch_size, self._device = batch_size, device
        local = Path(source).is_dir()
        options: dict[str, Any] = {"local_files_only": True} if local else {"revision": revision}
        options["trust_remote_code"] = False
        try:
            kind = transformers.AutoConfig.from_pretrained(source, **options).model_type
            if kind not in MODELS:
                raise SearchIndexError(
                    f"{source} is a {kind} model, not a late-interaction retriever ({', '.join(sorted(MODELS))})"
                )
            model_class, processor_class = (getattr(transformers, name) for name in MODELS[kind])
            self.processor = processor_class.from_pretrained(source, **options)
            options |= {"dtype": precision(device), "use_safetensors": True}
            self.model = load_model(model_class.from_pretrained, source, unused=UNUSED, **options).eval().to(device)
        except LOADING_FAULTS as error:
            raise SearchIndexError(
                f"the retriever {source} cannot be loaded: {' '.join(str(error).split())[:300]}"
            ) from error
        self.name = kind
        self.dimension = int(self.model.config.embedding_dim)
        self.fingerprint = folder_fingerprint(Path(source)) if local else hub_fingerprint(source, revision)

    def embed_pages(self, pages: Sequence[PageInput]) -> list[Vector]:
        """One (T, D) array a page."""
        found: list[Vector] = []
        for start in range(0, len(pages), self._batch_size):
            images = [page.image() for page in pages[start : start + self._batch_size]]
            found += self._embed(self.processor.process_images(images=images, return_tensors="pt"))
        return found

    def embed_query(self, query: str, statistics: Vector | None = None) -> Vector:
        """One (T, D) array."""
        return self._embed(self.processor.process_queries(text=[query], return_tensors="pt"))[0]

    def statistics(self, vectors: Iterable[Vector]) -> Vector | None:
        """None: a trained retriever needs no statistics of the index."""
        return None

    def patch_tokens(self, picture: Image.Image) -> Patches:
        """Which of a page's vectors stand for which patch of its picture, (rows, columns)."""
        inputs = self.processor.process_images(images=[picture], return_tensors="pt")
        return patch_tokens(inputs, self.processor)

    def _embed(self, inputs: Any) -> list[Vector]:
        import torch

        with torch.inference_mode():
            moved = {key: value.to(self._device) for key, value in inputs.items()}
            output = self.model(**moved).embeddings.float().cpu().numpy()
        masks = inputs["attention_mask"].bool().numpy()
        return [output[i][masks[i]] for i in range(len(output))]


def precision(device: str) -> Any:
    """A retriever's precision: float32 on a processor, on a GPU that of its own checkpoint, half the memory or less."""
    import torch

    return torch.float32 if device == "cpu" else "auto"


def folder_fingerprint(folder: Path) -> str:
    """Hash of the files that decide a retriever's vectors: weights, configuration, tokenizer, processor."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir(), key=lambda p: p.name):
        if file.is_file() and file.suffix in (".safetensors", ".json", ".txt", ".model", ".jinja"):
            if file.name == "lineage.json":
                continue  # it records where the weights came from, not what they are
            digest.update(file.name.encode() + b"\0")
            with file.open("rb") as handle:
                while chunk := handle.read(1 << 20):
                    digest.update(chunk)
    return digest.hexdigest()[:16]


def hub_fingerprint(source: str, revision: str | None) -> str:
    """A loaded model of the hub is known by the commit that its revision stands for in the local cache."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(source, name, revision=revision) for name in ("config.json", "adapter_config.json")]
    commits = [Path(path).parent.name for path in found if isinstance(path, str)]
    return hashlib.sha256(json.dumps([source, commits[0] if commits else revision]).encode()).hexdigest()[:16]
