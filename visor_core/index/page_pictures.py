"""Pictures of pages for embedders: the stored raster, or drawn anew from the source where none is stored."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from visor_core.config import DocumentsConfig, IndexConfig
from visor_core.documents.crops import CropRenderer
from visor_core.documents.sources import readable_path
from visor_core.errors import DocumentError
from visor_core.geometry import shown_size
from visor_core.index.corpus import Corpus, quoted
from visor_core.index.validating import password_for


class PagePictures:
    """Page pictures for embedders: the stored raster, or drawn from the source, at `index.embed_pixels` if given."""

    def __init__(
        self,
        corpus: Corpus,
        readable: dict[str, dict[str, Any]],
        config: IndexConfig,
        reading: DocumentsConfig,
    ) -> None:
        self._images = corpus.table("images")
        self._pixels = config.embed_pixels
        self._crops = CropRenderer(
            {i: readable_path(corpus.sources, i, row["media_type"]) for i, row in readable.items()},
            None,
            reading.renderer,
            config=reading,
            password_of=lambda document_id: password_for(reading, readable[document_id]["filename"]),
            memory_bytes=1,
        )

    def picture(self, page: dict[str, Any]) -> Image.Image:
        """The picture an embedder sees of a page row."""
        if self._pixels:
            width, height = shown_size(page["width_pt"], page["height_pt"], 1, self._pixels)
        elif stored := stored_picture(self._images, page["page_id"]):
            return stored
        else:
            width, height = page["image_width"], page["image_height"]
        try:
            return self._crops.picture(page["document_id"], page["page"], width, height)
        except DocumentError:
            if page["problem"]:  # the page was stored as unreadable: a blank one, as its stored raster is
                return Image.new("RGB", (width, height), "white")
            raise

    def close(self) -> None:
        """Release open documents."""
        self._crops.close()


def stored_picture(images: Any, page_id: str) -> Image.Image | None:
    """The stored raster of a page, from the table images; none where pages are drawn when they are looked at."""
    found = images.search().where(f"page_id = {quoted([page_id])}").select(["image"]).limit(1).to_arrow()
    data = found["image"][0].as_py()
    return Image.open(io.BytesIO(data)).convert("RGB") if data else None
